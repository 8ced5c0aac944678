// Drives a block with vectors from a file, a record a cycle, and writes what it answers.
// Arguments: cycles, words of an input record, words of an output record, input file, output file.
// hdl/tools.py defines PUT (ports from `in`), GET (ports to `out`) and CLOCK(level).

int main(int, char** argv) {
    const long cycles = std::atol(argv[1]);
    const std::size_t in_words = std::atol(argv[2]), out_words = std::atol(argv[3]);
    Words record_in(in_words + 1), record_out(out_words + 1);
    std::FILE *source = std::fopen(argv[4], "rb"), *target = std::fopen(argv[5], "wb");
    VerilatedContext context;
    auto top = make_top(context);
    for (long cycle = 0; cycle < cycles; cycle++) {
        if (std::fread(record_in.data(), 4, in_words, source) != in_words) return 1;
        const uint32_t* in = record_in.data();
        uint32_t* out = record_out.data();
        PUT
        CLOCK(0)
        top->eval();
        GET
        CLOCK(1)
        top->eval();
        std::fwrite(record_out.data(), 4, out_words, target);
    }
    return std::fclose(target);
}
