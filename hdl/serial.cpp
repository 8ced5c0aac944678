// The pins of a board with a UART, between a pipe and a line: bytes in are sent to the board, and
// what it sends comes out. Arguments: cycles of a bit, jitter of an edge in thousandths of a bit.
// In: records of two bytes, 0 and a byte to send, or 1 and 0 for a break. Out: bytes. Ends when the
// pipe does. hdl/client.py's tests define CLOCK(level), RESET(level), RX(level) and TX.
#include <poll.h>
#include <unistd.h>

#include <cmath>
#include <random>

int main(int, char** argv) {
    const double bit = std::atof(argv[1]), jitter = std::atof(argv[2]) / 1000 * bit;
    std::mt19937 random(1);
    std::uniform_real_distribution<double> off(-jitter, jitter);
    VerilatedContext context;
    auto top = make_top(context);
    RX(1);
    for (int cycle = 0; cycle < 40; cycle++) {
        RESET(cycle < 20);
        CLOCK(0), top->eval(), CLOCK(1), top->eval();
    }
    std::vector<std::pair<int64_t, int>> levels;  // until a cycle, the line's level
    std::size_t at = 0;
    int64_t arrives = -1;  // the cycle in which the byte that comes from the board began
    int received = 0, place = 0;
    for (int64_t cycle = 0;; cycle++) {
        if (at == levels.size() && cycle % 64 == 0) {
            pollfd waiting{0, POLLIN, 0};
            unsigned char record[2];
            if (poll(&waiting, 1, 0) == 1) {
                for (int got = 0, n; got < 2; got += n)
                    if ((n = read(0, record + got, 2 - got)) <= 0) return 0;
                levels.clear(), at = 0;
                const int frame = 1 << 9 | record[1] << 1;
                for (int n = 0; n < 10; n++)
                    levels.emplace_back(cycle + std::llround((n + 1) * bit + off(random)),
                                        frame >> n & 1);
                if (record[0] == 1)
                    levels = {{cycle + std::llround(15 * bit), 0},
                              {cycle + std::llround(20 * bit), 1}};
            }
        }
        while (at < levels.size() && cycle >= levels[at].first) at++;
        RX(at < levels.size() ? levels[at].second : 1);
        CLOCK(0), top->eval();
        if (arrives < 0 && !(TX)) arrives = cycle, place = 0;
        if (arrives >= 0 && cycle == arrives + std::llround((place + 0.5) * bit)) {
            if (place > 0 && place < 9) received = received >> 1 | (TX) << 7;
            if (place == 9) {
                const unsigned char byte = received;
                arrives = -1;
                if ((TX) && write(1, &byte, 1) != 1) return 0;
            }
            place++;
        }
        CLOCK(1), top->eval();
    }
}
