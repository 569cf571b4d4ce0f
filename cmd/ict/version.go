package main

import (
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"

	"ict/cpu"
	"ict/gpu"
)

// Set by -ldflags -X; without, what the build says of itself.
var commit, date string

// buildOf is commit and date of this program.
func buildOf() (hash, when string) {
	hash, when = commit, date
	info, ok := debug.ReadBuildInfo()
	if !ok || hash != "" {
		return orUnknown(hash), orUnknown(when)
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			hash = s.Value[:min(12, len(s.Value))]
		case "vcs.time":
			when = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				hash += "+changes"
			}
		}
	}
	return orUnknown(hash), orUnknown(when)
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

func versionCommand() *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "says what this program was built from", UsageText: "  ict version",
		Action: action(0, 0, func(_ *cli.Context, u *ui) error {
			hash, when := buildOf()
			dev, err := cpu.Open(cpu.Options{})
			if err != nil {
				return err
			}
			defer dev.Close()
			backends, cuda := []string{"cpu"}, "built without CUDA"
			if gpu.Built {
				backends, cuda = append(backends, "cuda"), "cuda (kernels "+gpu.KernelsArchs()+", "+gpu.KernelsSHA()+")"
			}
			if u.json {
				return u.printJSON(map[string]any{
					"commit": hash, "date": when, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
					"backends": backends, "blas": dev.BLAS(), "kernels": gpu.KernelsArchs(),
				})
			}
			u.result("ict %s of %s, %s, %s/%s", hash, when, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			u.result("backends: cpu (BLAS: %s); %s", dev.BLAS(), cuda)
			return nil
		}),
	}
}
