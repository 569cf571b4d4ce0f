// sim.h: how the simulator's kernels reach a stream. Shared by libictkernels (simt.cpp) and the stand-in driver (cuda.cpp).
//
// A launch becomes a closure that runs the whole grid on the simulator's own threads and returns when the last block is
// done. It may be run any number of times (graph replay); arguments are held by value. The library keeps one hook:
//
//   * none attached: the closure runs at once, in the launching thread's call;
//   * attached: the hook gets (stream, closure) and returns a status: 0, or the cudaError_t that the launch reports
//     (wrong context, failed stream, invalidated capture). It alone decides when the closure runs.
//
// The driver attaches in cuInit: dlsym(RTLD_DEFAULT, "ict_sim_attach"), since the library is loaded by the program and
// the driver perhaps later. Closures may run on any thread of the driver, one at a time or several.
#ifndef ICT_SIM_H
#define ICT_SIM_H

#include "../kernels.h"

#include <functional>

using ict_sim_enqueue = int (*)(ict_stream stream, std::function<void()> work);

extern "C" void ict_sim_attach(ict_sim_enqueue hook);  // null: detach

#endif
