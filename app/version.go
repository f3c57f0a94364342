package app

import (
	"runtime/debug"
)

// version is set by the linker: -ldflags "-X tidemark/app.version=1.2.3".
var version = "dev"

// BuildVersion adds to the version the revision it was built from, if known.
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
