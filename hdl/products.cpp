// Runs frames through a layer's PE: resets it, fills its memories, then for each frame writes x,
// starts, and takes the results. Arguments: words of the input, frames, columns, rows; patience
// (cycles without a result); input file, output file. In: the ports that stay; of each memory how
// many words and these; the frames. Out, of each frame: the cycle of its last result, counted from
// that of start; the results. Returns 2 if the PE hangs.
// hdl/products.py defines STAY (ports from `in`) and FILL (a WRITE for each memory).

#define WRITE(memory, count)                                                            \
    for (uint32_t n = 0, words = (count); n < words; n++) {                             \
        top->memory##_enable = 1, top->memory##_address = n;                            \
        put(top->memory##_data, in);                                                    \
        half(0), half(1);                                                               \
    }                                                                                   \
    top->memory##_enable = 0;

int main(int, char** argv) {
    Words stimulus(std::atol(argv[1])), results;
    const long frames = std::atol(argv[2]), columns = std::atol(argv[3]);
    const long rows = std::atol(argv[4]), patience = std::atol(argv[5]);
    std::FILE *source = std::fopen(argv[6], "rb"), *target = std::fopen(argv[7], "wb");
    if (std::fread(stimulus.data(), 4, stimulus.size(), source) != stimulus.size()) return 1;
    VerilatedContext context;
    auto top = make_top(context);
    const auto half = [&](int level) { top->clk = level, top->eval(); };

    const uint32_t* in = stimulus.data();
    top->start = 0, top->o_ready = 1;
    STAY
    for (int cycle = 0; cycle < 4; cycle++) top->rst = 1, half(0), half(1);
    top->rst = 0;
    FILL
    Words result((sizeof(top->o_data) + 3) / 4);
    for (long frame = 0; frame < frames; frame++) {
        WRITE(x, columns)
        top->start = 1, half(0), half(1), top->start = 0;
        const std::size_t at = results.size();
        results.push_back(0);
        uint32_t cycle = 1;
        for (long taken = 0, quiet = 0; taken < rows; cycle++, quiet++) {
            half(0);
            if (top->o_valid) {
                uint32_t* out = result.data();
                get(top->o_data, out);
                results.insert(results.end(), result.begin(), result.end());
                results[at] = cycle, taken++, quiet = 0;
            }
            half(1);
            if (quiet > patience) return 2;
        }
    }
    std::fwrite(results.data(), 4, results.size(), target);
    return std::fclose(target);
}
