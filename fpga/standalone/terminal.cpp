// A Verilated board that works alone, clocked, with a terminal on its UART and, where it has the pins, a flash chip.
//
// The flash is written from what chips of this kind have in common: it takes its input as the clock rises and changes
// its output as the clock falls; 0x03 reads from a 24-bit address on; 0xAB releases it from deep power-down, which takes
// a while, and until then it hears nothing else. A chip that is not selected or not speaking does not drive its output,
// which is pulled up.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <type_traits>
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

template <class T, class = void> struct HasFlash : std::false_type {};
template <class T> struct HasFlash<T, std::void_t<decltype(std::declval<T>().flash_select)>> : std::true_type {};

struct Flash {
    std::vector<uint8_t> content;
    bool asleep = false;
    uint64_t waking_clocks = 0;  // from the end of 0xAB until it hears
    uint64_t deaf_until = 0;
    bool selected = false, clock = false;
    unsigned bits = 0;
    uint32_t heard = 0;
    bool reading = false;
    uint32_t address = 0;
    unsigned place = 0;          // of the bit that is on its output, 8 before the first
    unsigned output = 1;
    uint64_t commands = 0;       // that it followed

    unsigned step(bool select, bool rising_clock, bool in, uint64_t now) {
        if (select != selected) {
            selected = select;
            if (!select && bits >= 8 && heard == 0xAB && asleep) {
                asleep = false;
                deaf_until = now + waking_clocks;
                ++commands;
            }
            bits = 0;
            heard = 0;
            reading = false;
            output = 1;
        }
        if (!selected) {
            clock = rising_clock;
            return 1;
        }
        if (rising_clock && !clock && !reading) {
            heard = heard << 1 | in;
            ++bits;
            if (bits == 32 && heard >> 24 == 0x03 && !asleep && now >= deaf_until) {
                reading = true;
                address = heard & 0xffffff;
                place = 8;
                ++commands;
            }
        } else if (!rising_clock && clock && reading) {
            if (place == 0) {
                ++address;
                place = 8;
            }
            const uint8_t byte = address < content.size() ? content[address] : 0xff;
            output = byte >> --place & 1;
        }
        clock = rising_clock;
        return output;
    }
};

struct Board {
    std::unique_ptr<VerilatedContext> context = std::make_unique<VerilatedContext>();
    std::unique_ptr<Vcore> model;
    Flash flash;
    uint64_t cycles = 0;
    uint64_t bit = 0;              // clocks a bit
    std::vector<uint8_t> text;     // bytes that the terminal got
    bool hearing = false;
    uint64_t hear_start = 0;
    int hear_bits = 0;
    unsigned heard = 0;
    uint64_t unframed = 0;

    Board() { model = std::make_unique<Vcore>(context.get(), "board"); }
    ~Board() { model->final(); }

    void listen() {
        const bool level = model->tx;
        if (!hearing) {
            if (level) return;
            hearing = true;
            hear_start = cycles;
            hear_bits = 0;
            heard = 0;
            return;
        }
        if (cycles < hear_start + hear_bits * bit + bit / 2) return;
        heard |= static_cast<unsigned>(level) << hear_bits;
        if (++hear_bits < BITS) return;
        hearing = false;
        if (heard >> (BITS - 1) & 1) text.push_back(static_cast<uint8_t>(heard >> 1));
        else ++unframed;
    }

    template <class T> void pins(T& top) {
        if constexpr (HasFlash<T>::value)
            top.flash_into = flash.step(top.flash_select, top.flash_clock, top.flash_out, cycles);
    }
};

}  // namespace

EXPORT void* board_create(uint64_t clocks_a_bit) {
    Board* board = new Board;
    board->bit = clocks_a_bit;
    return board;
}

EXPORT void board_destroy(void* handle) { delete static_cast<Board*>(handle); }

EXPORT uint64_t board_cycles(void* handle) { return static_cast<Board*>(handle)->cycles; }

EXPORT uint64_t board_unframed(void* handle) { return static_cast<Board*>(handle)->unframed; }

EXPORT uint64_t board_commands(void* handle) { return static_cast<Board*>(handle)->flash.commands; }

EXPORT int board_led(void* handle) { return static_cast<Board*>(handle)->model->led; }

// Solders a flash chip in, asleep or not; a chip that was asleep hears `waking_clocks` after it was woken.
EXPORT void board_flash(void* handle, const uint8_t* data, uint64_t size, int asleep, uint64_t waking_clocks) {
    Flash& flash = static_cast<Board*>(handle)->flash;
    flash.content.assign(data, data + size);
    flash.asleep = asleep;
    flash.waking_clocks = waking_clocks;
}

EXPORT void board_button(void* handle, int level) { static_cast<Board*>(handle)->model->button = level; }

// Clocks until the terminal has `wanted` bytes that nobody fetched, or `max_cycles` have passed; returns their number.
EXPORT uint64_t board_run(void* handle, uint64_t max_cycles, uint64_t wanted) {
    Board& board = *static_cast<Board*>(handle);
    Vcore& top = *board.model;
    for (uint64_t spent = 0; spent < max_cycles && board.text.size() < wanted; ++spent) {
        top.clk = 0;
        top.eval();
        board.listen();
        board.pins(top);
        top.clk = 1;
        top.eval();
        ++board.cycles;
    }
    return board.text.size();
}

// Moves up to `capacity` bytes of text to the caller, oldest first; returns how many.
EXPORT uint64_t board_fetch(void* handle, uint8_t* out, uint64_t capacity) {
    Board& board = *static_cast<Board*>(handle);
    const size_t count = capacity < board.text.size() ? capacity : board.text.size();
    if (count != 0) std::memcpy(out, board.text.data(), count);
    board.text.erase(board.text.begin(), board.text.begin() + count);
    return count;
}
