"""A stub in an accelerator's place: the ports, and something to compute."""

from myhdl import always, always_comb, block

from hdl.arith import bit, bits


@block
def stub(clk, rst, config, s_axis, m_axis, status):
    """Echo the words of a frame, each xor the sum of all images' words; the first one + 1 more.

    Status counts the images.
    """
    key = bits(32)
    images = bits(8)
    data = bits(len(m_axis.tdata))
    valid, last, accept = bit(), bit(), bit()

    @always_comb
    def ports():
        config.tready.next = 1
        accept.next = not valid or m_axis.tready
        s_axis.tready.next = not valid or m_axis.tready
        m_axis.tvalid.next = valid
        m_axis.tlast.next = last
        m_axis.tdata.next = data
        status.next = images

    @always(clk.posedge)
    def configure():
        if rst:
            key.next = 0
            images.next = 0
        elif config.tvalid:
            key.next = key ^ config.tdata
            if config.tlast:
                images.next = (images + 1) & 255

    @always(clk.posedge)
    def echo():
        if rst:
            valid.next = 0
        elif accept:
            valid.next = s_axis.tvalid
            last.next = s_axis.tlast
            data.next = s_axis.tdata ^ key ^ s_axis.tuser

    return ports, configure, echo
