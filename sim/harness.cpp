// The clock loop of a Verilated core, and the eight ports through which a host sees it, behind plain C functions.
//
// Why in C++: a call from Python for each cycle costs more than the cycle. Here one call moves a whole message, and the
// loop stops by itself when the answer is complete.
//
// Compiled once for each design. The design's header is always "Vcore.h"; of its ports the loop uses clk, rst, rx_* and
// tx_*. OPENLPU_PROBES(X) lists further outputs that the host wants to read by name, as X(port); OPENLPU_INPUTS(X) inputs
// that it sets. With OPENLPU_OPEN every signal and memory of the design can be found by name, and changed.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "Vcore.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif
#if VM_COVERAGE
#include "verilated_cov.h"
#endif
#if OPENLPU_OPEN
#include "verilated_syms.h"
#endif

#ifndef OPENLPU_PROBES
#define OPENLPU_PROBES(X)
#endif
#ifndef OPENLPU_INPUTS
#define OPENLPU_INPUTS(X)
#endif

#if defined(_WIN32)
#define EXPORT extern "C" __declspec(dllexport)
#else
#define EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace {

struct Core {
    std::unique_ptr<VerilatedContext> context = std::make_unique<VerilatedContext>();
    std::unique_ptr<Vcore> model;
    uint64_t cycles = 0;               // clock edges since it was made
    std::vector<uint8_t> received;     // bytes that the core sent ...
    size_t taken = 0;                  // ... and how many of them the host has fetched
    bool offering = false;             // rx_valid is up: a valid byte is not withdrawn, even by a stall
    uint64_t random = 1;               // state of the stall generator, never 0
    uint32_t rx_stall = 0;             // chance in 256 that a cycle offers no byte
    uint32_t tx_stall = 0;             // chance in 256 that a cycle accepts no byte
    const uint8_t* watched = nullptr;  // an output whose value is kept in every cycle in which it is not zero ...
    size_t watched_size = 0;
    std::vector<uint8_t> seen;         // ... as the cycle's number in eight bytes, and the value
#if VM_TRACE
    std::unique_ptr<VerilatedVcdC> trace;
#endif

    Core() { model = std::make_unique<Vcore>(context.get(), "core"); }

    ~Core() {
        Verilated::threadContextp(context.get());  // where the model looks for its scopes: not in that of another core
        model->final();
#if VM_TRACE
        if (trace) trace->close();
#endif
    }

    size_t available() const { return received.size() - taken; }

    // xorshift64: any generator does, but the same seed must give the same stalls everywhere.
    bool stalls(uint32_t chance) {
        if (chance == 0) return false;
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        return ((random >> 32) & 0xff) < chance;
    }

    // The inputs are set; let what depends on them settle before the edge.
    void settle() {
        model->clk = 0;
        model->eval();
#if VM_TRACE
        if (trace) trace->dump(2 * cycles);
#endif
        if (watched) look();
    }

    void look() {
        bool something = false;
        for (size_t i = 0; i < watched_size; ++i) something |= watched[i] != 0;
        if (!something) return;
        for (int i = 0; i < 8; ++i) seen.push_back(static_cast<uint8_t>(cycles >> 8 * i));
        seen.insert(seen.end(), watched, watched + watched_size);
    }

    void edge() {
        model->clk = 1;
        model->eval();
#if VM_TRACE
        if (trace) trace->dump(2 * cycles + 1);
#endif
        ++cycles;
    }
};

}  // namespace

EXPORT void* openlpu_create() { return new Core; }

EXPORT void openlpu_destroy(void* handle) { delete static_cast<Core*>(handle); }

EXPORT uint64_t openlpu_cycles(void* handle) { return static_cast<Core*>(handle)->cycles; }

// Holds reset for so many clocks. Bytes not yet fetched belong to the time before, and are dropped.
EXPORT void openlpu_reset(void* handle, uint64_t clocks) {
    Core& core = *static_cast<Core*>(handle);
    core.model->rst = 1;
    core.model->rx_valid = 0;
    core.model->tx_ready = 0;
    for (uint64_t i = 0; i < clocks; ++i) {
        core.settle();
        core.edge();
    }
    core.model->rst = 0;
    core.model->clk = 0;
    core.model->eval();
    core.offering = false;
    core.received.clear();
    core.taken = 0;
}

EXPORT void openlpu_stalls(void* handle, uint64_t seed, uint32_t rx_chance, uint32_t tx_chance) {
    Core& core = *static_cast<Core*>(handle);
    core.random = seed * 0x9e3779b97f4a7c15u | 1;
    core.rx_stall = rx_chance;
    core.tx_stall = tx_chance;
}

// Clocks until the core has taken all of `data` and has sent `wanted` bytes, or `max_cycles` have passed.
// The core may send at any time: what comes early or in excess waits for a later call.
// Returns how many bytes of `data` it took; `*waiting` tells how many bytes can be fetched.
EXPORT uint64_t openlpu_exchange(void* handle, const uint8_t* data, uint64_t count, uint64_t wanted, uint64_t max_cycles,
                                 uint64_t* waiting) {
    Core& core = *static_cast<Core*>(handle);
    Vcore& top = *core.model;
    uint64_t accepted = 0;
    if (count == 0) core.offering = false;  // the host has given up a byte that was never taken
    for (uint64_t spent = 0; spent < max_cycles; ++spent) {
        if (accepted == count && core.available() >= wanted) break;
        if (!core.offering && accepted < count) core.offering = !core.stalls(core.rx_stall);
        if (core.offering) top.rx_data = data[accepted];
        top.rx_valid = core.offering;
        top.tx_ready = !core.stalls(core.tx_stall);
        core.settle();
        const bool takes = core.offering && top.rx_ready;
        if (top.tx_valid && top.tx_ready) core.received.push_back(static_cast<uint8_t>(top.tx_data));
        core.edge();
        if (takes) {
            core.offering = false;
            ++accepted;
        }
    }
    *waiting = core.available();
    return accepted;
}

// Moves up to `capacity` received bytes to the host, oldest first; returns how many.
EXPORT uint64_t openlpu_fetch(void* handle, uint8_t* out, uint64_t capacity) {
    Core& core = *static_cast<Core*>(handle);
    const size_t count = capacity < core.available() ? capacity : core.available();
    if (count != 0) std::memcpy(out, core.received.data() + core.taken, count);
    core.taken += count;
    if (core.taken == core.received.size()) {
        core.received.clear();
        core.taken = 0;
    }
    return count;
}

// Copies the bytes of an output into `out`, least significant first; returns how many, 0 for a port not asked for.
EXPORT uint64_t openlpu_probe(void* handle, const char* name, uint8_t* out, uint64_t capacity) {
    Vcore& top = *static_cast<Core*>(handle)->model;
    (void)top, (void)name, (void)out, (void)capacity;  // unused where there are no probes
#define OPENLPU_COPY(port)                                         \
    if (std::strcmp(name, #port) == 0) {                           \
        const size_t size = sizeof(top.port);                      \
        if (size > capacity) return 0;                             \
        std::memcpy(out, &top.port, size);                         \
        return size;                                               \
    }
    OPENLPU_PROBES(OPENLPU_COPY)
    return 0;
}

// Sets an input from the next clock on; returns 0 for one not asked for.
EXPORT int openlpu_set(void* handle, const char* name, uint64_t value) {
    Vcore& top = *static_cast<Core*>(handle)->model;
    (void)top, (void)name, (void)value;  // unused where there are no inputs
#define OPENLPU_SET(port)                                          \
    if (std::strcmp(name, #port) == 0) {                           \
        top.port = value;                                          \
        return 1;                                                  \
    }
    OPENLPU_INPUTS(OPENLPU_SET)
    return 0;
}

// Keeps the values of an output that are not zero from now on; returns its size in bytes, 0 for a port not asked for.
EXPORT uint64_t openlpu_watch(void* handle, const char* name) {
    Core& core = *static_cast<Core*>(handle);
    (void)name;  // unused where there are no probes
    core.watched = nullptr;
    core.watched_size = 0;
#define OPENLPU_WATCH(port)                                        \
    if (std::strcmp(name, #port) == 0) {                           \
        core.watched = reinterpret_cast<const uint8_t*>(&core.model->port); \
        core.watched_size = sizeof(core.model->port);              \
    }
    OPENLPU_PROBES(OPENLPU_WATCH)
    return core.watched_size;
}

// Moves what was kept to the host and forgets it; returns its size in bytes, and only that where `capacity` is less.
EXPORT uint64_t openlpu_seen(void* handle, uint8_t* out, uint64_t capacity) {
    Core& core = *static_cast<Core*>(handle);
    const size_t size = core.seen.size();
    if (size <= capacity) {
        if (size != 0) std::memcpy(out, core.seen.data(), size);
        core.seen.clear();
    }
    return size;
}

// Writes every later change to a VCD file, two time units a cycle. Returns 0 where the build has no tracing.
EXPORT int openlpu_trace(void* handle, const char* path) {
#if VM_TRACE
    Core& core = *static_cast<Core*>(handle);
    core.context->traceEverOn(true);
    core.trace = std::make_unique<VerilatedVcdC>();
    core.model->trace(core.trace.get(), 99);
    core.trace->open(path);
    return core.trace->isOpen();
#else
    (void)handle, (void)path;
    return 0;
#endif
}

// Writes how often each point of the design was reached so far. Returns 0 where the build does not count.
EXPORT int openlpu_coverage(void* handle, const char* path) {
#if VM_COVERAGE
    static_cast<Core*>(handle)->context->coveragep()->write(path);
    return 1;
#else
    (void)handle, (void)path;
    return 0;
#endif
}

#if OPENLPU_OPEN
namespace {

VerilatedVar* find(void* handle, const char* scope, const char* name) {
    const VerilatedScope* const found = static_cast<Core*>(handle)->context->scopeFind(scope);
    return found ? found->varFind(name) : nullptr;
}

}  // namespace

// Rows and bits of a row of a signal (which is one row) or memory; returns 0 where there is none of that name.
EXPORT int openlpu_shape(void* handle, const char* scope, const char* name, uint64_t* rows, uint64_t* bits) {
    const VerilatedVar* const var = find(handle, scope, name);
    if (!var || var->udims() > 1) return 0;
    *rows = var->udims() ? var->unpackedRanges()[0].elements() : 1;
    *bits = var->entBits();
    return 1;
}

// The byte that a bit of a row is in. The caller has asked for the shape, and keeps to it.
static uint8_t& place(void* handle, const char* scope, const char* name, uint64_t row, uint64_t bit) {
    const VerilatedVar* const var = find(handle, scope, name);
    return (static_cast<uint8_t*>(var->datap()) + row * var->entSize())[bit / 8];
}

EXPORT int openlpu_bit(void* handle, const char* scope, const char* name, uint64_t row, uint64_t bit) {
    return place(handle, scope, name, row, bit) >> bit % 8 & 1;
}

// Inverts a bit, between two clocks.
EXPORT void openlpu_flip(void* handle, const char* scope, const char* name, uint64_t row, uint64_t bit) {
    place(handle, scope, name, row, bit) ^= static_cast<uint8_t>(1u << bit % 8);
}
#endif
