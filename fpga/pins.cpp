// A Verilated board, clocked, with a UART of the other side on its two pins, behind plain C functions.
//
// Like sim/harness.cpp, but what it sees of the design is a board's ports: clk, rx, tx. The UART here keeps its own time
// in fractions of a clock, so that a line can be faster or slower than the board takes it for.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "Vcore.h"
#include "verilated.h"

#if defined(_WIN32)
#define EXPORT extern "C" __declspec(dllexport)
#else
#define EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace {

constexpr int BITS = 10;  // start, eight data bits, stop

struct Board {
    std::unique_ptr<VerilatedContext> context = std::make_unique<VerilatedContext>();
    std::unique_ptr<Vcore> model;
    uint64_t cycles = 0;
    double bit = 0;                 // clocks a bit
    std::vector<uint8_t> outbound;  // bytes for the board ...
    size_t sent = 0;                // ... of which so many are gone
    bool sending = false;
    double send_start = 0;          // when the present byte's start bit began
    std::vector<uint8_t> inbound;   // bytes from the board
    bool hearing = false;
    double hear_start = 0;
    int hear_bits = 0;
    unsigned heard = 0;
    uint64_t unframed = 0;          // bytes without stop bit
    uint64_t last_activity = 0;     // cycle in which a byte last began or ended, either way

    Board() { model = std::make_unique<Vcore>(context.get(), "board"); }
    ~Board() { model->final(); }

    bool quiet() const { return !sending && sent == outbound.size() && !hearing; }

    void drive() {
        if (!sending && sent < outbound.size()) {
            sending = true;
            send_start = static_cast<double>(cycles);
        }
        unsigned level = 1;
        if (sending) {
            const int place = static_cast<int>((static_cast<double>(cycles) - send_start) / bit);
            if (place >= BITS) {
                // The next start bit comes where the stop bit ends, to the fraction.
                send_start += BITS * bit;
                last_activity = cycles;
                if (++sent == outbound.size()) {
                    sending = false;
                    outbound.clear();
                    sent = 0;
                } else {
                    level = 0;
                }
            } else if (place == 0) {
                level = 0;
            } else if (place < BITS - 1) {
                level = outbound[sent] >> (place - 1) & 1;
            }
        }
        model->rx = level;
    }

    void listen() {
        const bool level = model->tx;
        if (!hearing) {
            if (level) return;
            hearing = true;
            hear_start = static_cast<double>(cycles);
            hear_bits = 0;
            heard = 0;
            last_activity = cycles;
            return;
        }
        if (static_cast<double>(cycles) < hear_start + (hear_bits + 0.5) * bit) return;
        heard |= static_cast<unsigned>(level) << hear_bits;
        if (++hear_bits < BITS) return;
        hearing = false;
        last_activity = cycles;
        if (heard >> (BITS - 1) & 1) inbound.push_back(static_cast<uint8_t>(heard >> 1));
        else ++unframed;
    }
};

}  // namespace

EXPORT void* board_create(double clocks_a_bit) {
    Board* board = new Board;
    board->bit = clocks_a_bit;
    board->model->rx = 1;
    return board;
}

EXPORT void board_destroy(void* handle) { delete static_cast<Board*>(handle); }

EXPORT uint64_t board_cycles(void* handle) { return static_cast<Board*>(handle)->cycles; }

EXPORT uint64_t board_unframed(void* handle) { return static_cast<Board*>(handle)->unframed; }

EXPORT void board_send(void* handle, const uint8_t* data, uint64_t count) {
    Board& board = *static_cast<Board*>(handle);
    board.outbound.insert(board.outbound.end(), data, data + count);
}

// Clocks until nothing has moved on the line for `silence` cycles, or `max_cycles` have passed. Returns whether the line
// is quiet.
EXPORT int board_run(void* handle, uint64_t max_cycles, uint64_t silence) {
    Board& board = *static_cast<Board*>(handle);
    Vcore& top = *board.model;
    for (uint64_t spent = 0; spent < max_cycles; ++spent) {
        if (board.quiet() && board.cycles - board.last_activity >= silence) return 1;
        board.drive();
        top.clk = 0;
        top.eval();
        board.listen();
        top.clk = 1;
        top.eval();
        ++board.cycles;
    }
    return 0;
}

// Moves up to `capacity` bytes from the board to the host, oldest first; returns how many.
EXPORT uint64_t board_fetch(void* handle, uint8_t* out, uint64_t capacity) {
    Board& board = *static_cast<Board*>(handle);
    const size_t count = capacity < board.inbound.size() ? capacity : board.inbound.size();
    if (count != 0) std::memcpy(out, board.inbound.data(), count);
    board.inbound.erase(board.inbound.begin(), board.inbound.begin() + count);
    return count;
}
