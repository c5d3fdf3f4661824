// Plays vectors to a design without a clock of its own: sets its input, lets it settle, keeps its output.
//
// The input and the output are Verilog ports `in` and `out` of any width; clocks are bits of the input.

#include <cstdint>
#include <cstring>
#include <memory>

#include "Vcore.h"
#include "verilated.h"

#if defined(_WIN32)
#define EXPORT extern "C" __declspec(dllexport)
#else
#define EXPORT extern "C" __attribute__((visibility("default")))
#endif

// Reads `count` inputs of sizeof(in) bytes each and writes as many outputs; a new machine each time.
EXPORT void openlpu_play(const uint8_t* inputs, uint8_t* outputs, uint64_t count) {
    auto context = std::make_unique<VerilatedContext>();
    auto top = std::make_unique<Vcore>(context.get(), "cell");
    for (uint64_t i = 0; i < count; ++i) {
        std::memcpy(&top->in, inputs + i * sizeof(top->in), sizeof(top->in));
        top->eval();
        std::memcpy(outputs + i * sizeof(top->out), &top->out, sizeof(top->out));
    }
    top->final();
}

EXPORT uint64_t openlpu_input_bytes() { return sizeof(Vcore::in); }
EXPORT uint64_t openlpu_output_bytes() { return sizeof(Vcore::out); }
