//go:build cuda

package gpu

/*
#include <signal.h>
#include <stddef.h>

// A handler runs on the stack of the goroutine that the signal met, unless SA_ONSTACK sends it to the alternate stack, and
// goroutines have small stacks: Go ends the program at a handler without it.
static void signalStacks(void) {
	for (int sig = 1; sig < NSIG; sig++) {
		struct sigaction a;
		if (sigaction(sig, NULL, &a) || (a.sa_flags & SA_ONSTACK))
			continue;
		if (!(a.sa_flags & SA_SIGINFO) && (a.sa_handler == SIG_DFL || a.sa_handler == SIG_IGN))
			continue;
		a.sa_flags |= SA_ONSTACK;
		sigaction(sig, &a, NULL);
	}
}
*/
import "C"

// restoreSignalStacks sets SA_ONSTACK on every handler that a library installed without it.
func restoreSignalStacks() { C.signalStacks() }
