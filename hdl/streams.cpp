// Streams blocks through a core: resets it, loads its memories, offers inputs, takes outputs.
// Arguments: loads, blocks in, blocks out; idle, stall (chances out of 256), seed; patience (cycles
// without a transfer); input file (loads: address, data; blocks: first, data); output file (blocks
// in: cycle; blocks out: cycle, last, data).
// Returns 2 if the core hangs, 3 if it breaks the stream contract.

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
    const long loads = std::atol(argv[1]);
    const long blocks_in = std::atol(argv[2]), blocks_out = std::atol(argv[3]);
    const uint32_t idle = std::atol(argv[4]), stall = std::atol(argv[5]);
    uint64_t random = std::strtoull(argv[6], nullptr, 10) * 2 + 1;
    const long patience = std::atol(argv[7]);
    std::FILE *source = std::fopen(argv[8], "rb"), *target = std::fopen(argv[9], "wb");
    VerilatedContext context;
    auto top = make_top(context);
    Words stimulus;
    for (uint32_t word; std::fread(&word, 4, 1, source) == 1;) stimulus.push_back(word);
    const uint32_t* in = stimulus.data();

    const auto half = [&](int level) { top->clk = level, top->eval(); };
    top->load_valid = top->i_valid = top->o_ready = 0;
    for (int cycle = 0; cycle < 4; cycle++) top->rst = 1, half(0), half(1);
    top->rst = 0, top->load_valid = 1;
    for (long n = 0; n < loads; n++) {
        put(top->load_address, in), put(top->load_data, in);
        half(0), half(1);
    }
    top->load_valid = 0;

    std::vector<uint32_t> accepted;
    Words given, held;
    long taken = 0;
    uint32_t quiet = 0;
    for (uint32_t cycle = 0; taken < blocks_out; cycle++) {
        if (!top->i_valid && long(accepted.size()) < blocks_in && chance(random) >= idle) {
            top->i_valid = 1;
            put(top->i_first, in), put(top->i_data, in);
        }
        top->o_ready = chance(random) >= stall;
        half(0);
        Words data = value_of(top->o_data);
        data.push_back(top->o_last);
        if (!held.empty() && (!top->o_valid || data != held)) return 3;
        held.clear();
        quiet++;
        if (top->o_valid && top->o_ready) {
            given.push_back(cycle), given.push_back(top->o_last);
            given.insert(given.end(), data.begin(), data.end() - 1);
            taken++, quiet = 0;
        } else if (top->o_valid) {
            held = data;
        }
        const bool transfer = top->i_valid && top->i_ready;
        half(1);
        if (transfer) accepted.push_back(cycle), top->i_valid = 0, quiet = 0;
        if (quiet > patience) return 2;
    }
    accepted.resize(blocks_in);
    std::fwrite(accepted.data(), 4, accepted.size(), target);
    std::fwrite(given.data(), 4, given.size(), target);
    return std::fclose(target);
}
