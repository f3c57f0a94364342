package app

import (
	"cmp"
	"runtime/debug"
)

// version and revision are set by the linker: -ldflags "-X tidemark/app.version=1.2.3".
// Without a revision it is that of the checkout in which go build ran.
var version, revision = "dev", ""

// BuildVersion returns the version, the revision if known, and the Go version.
func BuildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version
	}
	commit, modified := revision, false
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			commit = cmp.Or(commit, s.Value)
		case "vcs.modified":
			modified = s.Value == "true"
		}
	}
	text := version
	if commit != "" {
		text += " " + commit[:min(12, len(commit))]
	}
	if modified {
		text += "-modified"
	}
	return text + " " + info.GoVersion
}
