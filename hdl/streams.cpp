// Streams frames through an accelerator: resets it, sends its image, offers blocks, takes results.
// Arguments: words of the image; idle, stall (chances out of 256), seed; patience (cycles without a
// transfer). In: the image, then calls: numbers of blocks in and out; blocks (user, last, data).
// Out, to each call when it is done: of blocks in the cycle, of blocks out cycle, last, data. State
// and cycles go on from call to call. Ends when its input does; returns 2 if the accelerator hangs,
// 3 if it breaks the stream contract, 4 if it refuses the image.

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

static bool read(Words& words) {
    return std::fread(words.data(), 4, words.size(), stdin) == words.size();
}

static void write(const Words& words) { std::fwrite(words.data(), 4, words.size(), stdout); }

int main(int, char** argv) {
    Words image(std::atol(argv[1]));
    const uint32_t idle = std::atol(argv[2]), stall = std::atol(argv[3]);
    uint64_t random = std::strtoull(argv[4], nullptr, 10) * 2 + 1;
    const long patience = std::atol(argv[5]);
    VerilatedContext context;
    auto top = make_top(context);
    if (!read(image)) return 1;

    const auto half = [&](int level) { top->clk = level, top->eval(); };
    top->config_tvalid = top->s_axis_tvalid = top->m_axis_tready = 0;
    for (int cycle = 0; cycle < 4; cycle++) top->rst = 1, half(0), half(1);
    top->rst = 0;
    for (std::size_t n = 0; n < image.size();) {
        top->config_tvalid = 1, top->config_tdata = image[n];
        top->config_tlast = n == image.size() - 1;
        half(0);
        if (top->config_tready) n++;
        half(1);
    }
    top->config_tvalid = 0;
    for (long cycle = 0; cycle < patience && top->status != 1; cycle++) half(0), half(1);
    if (top->status != 1) return 4;

    const std::size_t record = 2 + value_of(top->s_axis_tdata).size();
    uint32_t cycle = 0;
    for (Words numbers(2), held; read(numbers); std::fflush(stdout)) {
        Words stimulus(numbers[0] * record), accepted, given;
        if (!read(stimulus)) return 1;
        const uint32_t* in = stimulus.data();
        long quiet = 0;
        for (uint32_t offered = 0, taken = 0; taken < numbers[1]; cycle++) {
            if (!top->s_axis_tvalid && offered < numbers[0] && chance(random) >= idle) {
                top->s_axis_tvalid = 1, offered++;
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
        accepted.resize(numbers[0]);
        write(accepted), write(given);
    }
    return 0;
}
