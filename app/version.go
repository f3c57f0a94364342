package app

import (
	"runtime/debug"
)

// version is set by the linker: -ldflags "-X tidemark/app.version=1.2.3".
var version = "dev"

// BuildVersion returns the version, the revision if known, and the Go version.
func BuildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version
	}
	text := version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			text += " " + s.Value[:min(12, len(s.Value))]
		}
	}
	return text + " " + info.GoVersion
}
