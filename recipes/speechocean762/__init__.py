"""Phone recognition on speechocean762."""
