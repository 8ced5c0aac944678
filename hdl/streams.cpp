// Streams frames through an accelerator: resets it, sends its image, offers blocks, takes results.
// Arguments: words of the image, blocks in, blocks out; idle, stall (chances out of 256), seed;
// patience (cycles without a transfer); input file (image; blocks: user, last, data), output file
// (blocks in: cycle; blocks out: cycle, last, data).
// Returns 2 if it hangs, 3 if it breaks the stream contract, 4 if it refuses the image.

static uint32_t chance(uint64_t& state) {  // xorshift64*
    state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
    return uint32_t((state * 0x2545F4914F6CDD1DULL) >> 56);
}

template <class Port> Words value_of(const Port& port) {
    Words words((sizeof(port) + 3) / 4);
    uint32_t* at = words.data();
    get(port, at);
    return words;
}

int main(int, char** argv) {
    const long words = std::atol(argv[1]);
    const long blocks_in = std::atol(argv[2]), blocks_out = std::atol(argv[3]);
    const uint32_t idle = std::atol(argv[4]), stall = std::atol(argv[5]);
    uint64_t random = std::strtoull(argv[6], nullptr, 10) * 2 + 1;
    const long patience = std::atol(argv[7]);
    std::FILE *source = std::fopen(argv[8], "rb"), *target = std::fopen(argv[9], "wb");
    VerilatedContext context;
    auto top = make_top(context);
    std::fseek(source, 0, SEEK_END);
    Words stimulus(std::ftell(source) / 4);
    std::rewind(source);
    if (std::fread(stimulus.data(), 4, stimulus.size(), source) != stimulus.size()) return 1;
    const uint32_t* in = stimulus.data();

    const auto half = [&](int level) { top->clk = level, top->eval(); };
    top->config_tvalid = top->s_axis_tvalid = top->m_axis_tready = 0;
    for (int cycle = 0; cycle < 4; cycle++) top->rst = 1, half(0), half(1);
    top->rst = 0;
    for (long n = 0; n < words;) {
        top->config_tvalid = 1, top->config_tdata = *in, top->config_tlast = n == words - 1;
        half(0);
        if (top->config_tready) n++, in++;
        half(1);
    }
    top->config_tvalid = 0;
    for (long cycle = 0; cycle < patience && top->status != 1; cycle++) half(0), half(1);
    if (top->status != 1) return 4;

    std::vector<uint32_t> accepted;
    Words given, held;
    long taken = 0, quiet = 0;
    for (uint32_t cycle = 0; taken < blocks_out; cycle++) {
        if (!top->s_axis_tvalid && long(accepted.size()) < blocks_in && chance(random) >= idle) {
            top->s_axis_tvalid = 1;
            put(top->s_axis_tuser, in), put(top->s_axis_tlast, in), put(top->s_axis_tdata, in);
        }
        top->m_axis_tready = chance(random) >= stall;
        half(0);
        quiet++;
        if (top->m_axis_tvalid) {
            Words data = value_of(top->m_axis_tdata);
            data.push_back(top->m_axis_tlast);
            if (!held.empty() && data != held) return 3;
            held.clear();
            if (top->m_axis_tready) {
                given.push_back(cycle), given.push_back(top->m_axis_tlast);
                given.insert(given.end(), data.begin(), data.end() - 1);
                taken++, quiet = 0;
            } else {
                held = data;
            }
        } else if (!held.empty()) {
            return 3;
        }
        const bool transfer = top->s_axis_tvalid && top->s_axis_tready;
        half(1);
        if (transfer) accepted.push_back(cycle), top->s_axis_tvalid = 0, quiet = 0;
        if (quiet > patience) return 2;
    }
    accepted.resize(blocks_in);
    std::fwrite(accepted.data(), 4, accepted.size(), target);
    std::fwrite(given.data(), 4, given.size(), target);
    return std::fclose(target);
}
