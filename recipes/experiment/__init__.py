"""What every recipe does: its stages from features to hardware, its settings and its report."""
