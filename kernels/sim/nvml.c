// nvml.c: a stand-in for libnvidia-ml.so.1 beside the stand-in driver, for tests. Its numbers are ICT_SIM_SENSORS=
// milliwatts,celsius,megahertz,reasons,percent,used,total; -1, or what is missing at the end, is not supported.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define API __attribute__((visibility("default"))) int
enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6 };
enum { MILLIWATTS, CELSIUS, MEGAHERTZ, REASONS, PERCENT, USED, TOTAL, COUNT };
static int here; // what a device's handle points to

static long long number(int which) {
	const char *s = getenv("ICT_SIM_SENSORS");
	for (int i = 0; s; i++) {
		if (i == which) {
			char *end;
			long long v = strtoll(s, &end, 0);
			return end == s ? -1 : v;
		}
		s = strchr(s, ',');
		s = s ? s + 1 : NULL;
	}
	return -1;
}

static int give(void *device, int which, unsigned *to) {
	long long v = number(which);
	if (device != &here)
		return INVALID_ARGUMENT;
	if (v < 0)
		return NOT_SUPPORTED;
	*to = (unsigned)v;
	return SUCCESS;
}

static int text(char *to, unsigned size, const char *what) {
	snprintf(to, size, "%s", what);
	return SUCCESS;
}

API nvmlInit_v2(void) { return getenv("ICT_SIM_NO_NVML") ? 9 : SUCCESS; } // 9: driver not loaded
API nvmlSystemGetDriverVersion(char *to, unsigned size) { return text(to, size, "0.0 (simulator)"); }
API nvmlSystemGetNVMLVersion(char *to, unsigned size) { return text(to, size, "0.0 (simulator)"); }

API nvmlDeviceGetHandleByPciBusId_v2(const char *at, void **device) {
	if (strcmp(at, "00000000:00:00.0")) // what the stand-in driver says
		return NOT_FOUND;
	*device = &here;
	return SUCCESS;
}

API nvmlDeviceGetPowerUsage(void *d, unsigned *to) { return give(d, MILLIWATTS, to); }
API nvmlDeviceGetTemperature(void *d, unsigned sensor, unsigned *to) { return sensor ? INVALID_ARGUMENT : give(d, CELSIUS, to); }
API nvmlDeviceGetClockInfo(void *d, unsigned clock, unsigned *to) { return clock != 1 ? INVALID_ARGUMENT : give(d, MEGAHERTZ, to); }

API nvmlDeviceGetCurrentClocksThrottleReasons(void *d, unsigned long long *to) {
	unsigned u;
	int code = give(d, REASONS, &u);
	if (!code)
		*to = u;
	return code;
}

API nvmlDeviceGetUtilizationRates(void *d, unsigned to[2]) {
	to[1] = 0;
	return give(d, PERCENT, to);
}

API nvmlDeviceGetMemoryInfo(void *d, unsigned long long to[3]) { // total, free, used
	if (d != &here)
		return INVALID_ARGUMENT;
	if (number(USED) < 0 || number(TOTAL) < 0)
		return NOT_SUPPORTED;
	to[0] = number(TOTAL);
	to[2] = number(USED);
	to[1] = to[0] - to[2];
	return SUCCESS;
}
