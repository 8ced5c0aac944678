// Values of a Verilated model's ports as 32-bit words, the least significant first.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "Vtop.h"

using Words = std::vector<uint32_t>;

template <class T> void put(T& port, const uint32_t*& words) {
    uint64_t value = *words++;
    if (sizeof(T) == 8) value |= uint64_t(*words++) << 32;
    port = T(value);
}
template <std::size_t N> void put(VlWide<N>& port, const uint32_t*& words) {
    std::memcpy(port.m_storage, words, 4 * N);
    words += N;
}
template <class T> void get(const T& port, uint32_t*& words) {
    *words++ = uint32_t(port);
    if (sizeof(T) == 8) *words++ = uint32_t(uint64_t(port) >> 32);
}
template <std::size_t N> void get(const VlWide<N>& port, uint32_t*& words) {
    std::memcpy(words, port.m_storage, 4 * N);
    words += N;
}

// Registers start at random values: nothing may rely on them.
std::unique_ptr<Vtop> make_top(VerilatedContext& context) {
    context.randReset(2);
    context.randSeed(1);
    return std::make_unique<Vtop>(&context);
}
