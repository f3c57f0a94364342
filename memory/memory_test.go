package memory

// These tests pin the reading of memory: the numbers of this process are plausible, and
// the files of both cgroup versions yield the working set of docker stats and the lowest
// limit of the cgroup and its parents.

import (
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestRead_OfThisProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has /proc")
	}
	m := Read()
	if m.RSS < 1<<20 || m.PeakRSS < m.RSS/2 {
		t.Errorf("RSS %d, peak %d", m.RSS, m.PeakRSS)
	}
	if RSS() < 1<<20 {
		t.Errorf("RSS() is %d", RSS())
	}
}

func TestRead_Cgroups(t *testing.T) {
	proc := map[string]string{
		"proc/statm":  "1000 500 100 1 0 1 0\n",
		"proc/status": "Name:\ttidemark\nVmHWM:\t   31000 kB\nVmRSS:\t   2000 kB\n",
	}
	page := int64(os.Getpagesize())
	for name, c := range map[string]struct {
		files map[string]string
		want  Usage
	}{
		"version 2, limit of the parent is tighter": {map[string]string{
			"proc/cgroup":                 "0::/pod/box\n",
			"cg/pod/box/memory.current":   "50000000\n",
			"cg/pod/box/memory.stat":      "anon 30000000\nfile 20000000\ninactive_file 15000000\n",
			"cg/pod/box/memory.max":       "max\n",
			"cg/pod/memory.max":           "64000000\n",
			"cg/memory.max":               "128000000\n",
			"cg/pod/box/memory.swap.peak": "0\n",
		}, Usage{500 * page, 100 * page, 31000 << 10, 35000000, 64000000}},
		"version 2, the container sees its own group at the root": {map[string]string{
			"proc/cgroup":       "0::/system.slice/docker-abc.scope\n",
			"cg/memory.current": "40000000\n",
			"cg/memory.stat":    "inactive_file 1000000\n",
			"cg/memory.max":     "134217728\n",
		}, Usage{500 * page, 100 * page, 31000 << 10, 39000000, 134217728}},
		"version 1": {map[string]string{
			"proc/cgroup":                             "5:cpu,cpuacct:/box\n4:memory:/box\n",
			"cg/memory/box/memory.usage_in_bytes":     "30000000\n",
			"cg/memory/box/memory.limit_in_bytes":     "9223372036854771712\n",
			"cg/memory/memory.limit_in_bytes":         "100000000\n",
			"cg/memory/box/memory.stat":               "inactive_file 1\ntotal_inactive_file 5000000\n",
			"cg/memory/box/memory.max_usage_in_bytes": "1\n",
		}, Usage{500 * page, 100 * page, 31000 << 10, 25000000, 100000000}},
		"version 1, the root of the machine": {map[string]string{
			"proc/cgroup":                     "4:memory:/gone\n",
			"cg/memory/memory.usage_in_bytes": "22000000000\n",
			"cg/memory/memory.limit_in_bytes": "9223372036854771712\n",
			"cg/memory/release_agent":         "",
		}, Usage{500 * page, 100 * page, 31000 << 10, 0, 0}},
		"none": {map[string]string{"proc/cgroup": "0::/\n"}, Usage{500 * page, 100 * page, 31000 << 10, 0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			files := maps.Clone(proc)
			maps.Copy(files, c.files)
			for path, text := range files {
				path = filepath.Join(root, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got := read(filepath.Join(root, "proc"), filepath.Join(root, "cg")); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}
