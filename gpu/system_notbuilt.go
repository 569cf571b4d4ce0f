//go:build !cuda

package gpu

// ReadSystem knows nothing in this build: without CUDA nothing of it is opened.
func ReadSystem() System {
	return System{NoDriver: ErrNotBuilt, NVML: Library{Name: nvmlName, Err: ErrNotBuilt}, NCCL: Library{Name: "libnccl.so.2", Err: ErrNotBuilt}}
}

// ReadSensors knows nothing in this build.
func ReadSensors(Info) Sensors { return noSensors }
