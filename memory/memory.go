// Package memory reads the memory use of this process from the operating system.
package memory

import (
	"bufio"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// Usage is the memory use of this process, in bytes. A field is 0 if the system does not
// report it (not Linux, no cgroup, no limit).
type Usage struct {
	RSS     int64 // current resident set size
	Files   int64 // part of RSS that maps files, mostly the binary
	PeakRSS int64 // maximum of RSS since the process started (VmHWM)
	// WorkingSet is the memory of the cgroup without its inactive page cache, as
	// `docker stats` and Kubernetes report it: of this process and of all others in the
	// cgroup. It is 0 for the root cgroup, which is the whole machine.
	WorkingSet int64
	Limit      int64 // lowest limit of the cgroup and its parents
}

// Read reads /proc and the cgroup (version 2, else version 1).
func Read() Usage {
	return read("/proc/self", "/sys/fs/cgroup")
}

// self is /proc/self/statm, which stays open: RSS is read after every pair of a sweep.
var self = sync.OnceValue(func() *os.File {
	f, err := os.Open("/proc/self/statm")
	if err != nil {
		return nil
	}
	return f
})

// RSS returns the current resident set size. It is cheaper than Read.
func RSS() int64 {
	f := self()
	if f == nil {
		return 0
	}
	var b [128]byte // seven numbers
	n, _ := f.ReadAt(b[:], 0)
	rss, _ := statm(b[:n])
	return rss
}

// statm returns the resident set size and the part of it that maps files or shared
// memory, from the content of /proc/PID/statm.
func statm(b []byte) (rss, files int64) {
	fields := bytes.Fields(b) // of the address space, resident, shared, …
	if len(fields) < 3 {
		return 0, 0
	}
	page := int64(os.Getpagesize())
	rss, _ = strconv.ParseInt(string(fields[1]), 10, 64)
	files, _ = strconv.ParseInt(string(fields[2]), 10, 64)
	return rss * page, files * page
}

func read(proc, cgroup string) Usage {
	var m Usage
	if b, err := os.ReadFile(filepath.Join(proc, "statm")); err == nil {
		m.RSS, m.Files = statm(b)
	}
	m.PeakRSS = keyed(filepath.Join(proc, "status"), "VmHWM:") << 10
	b, err := os.ReadFile(filepath.Join(proc, "cgroup"))
	if err != nil {
		return m
	}
	for line := range strings.Lines(string(b)) {
		// hierarchy-ID:controllers:path
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) != 3 {
			continue
		}
		switch {
		case part[0] == "0" && part[1] == "": // version 2
			m.cgroup(cgroup, part[2], "memory.current", "memory.max", "inactive_file")
		case strings.Contains(","+part[1]+",", ",memory,"): // version 1
			m.cgroup(filepath.Join(cgroup, "memory"), part[2],
				"memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file")
		}
	}
	return m
}

// cgroup reads the files of one memory controller. Inside a container,
// /proc/self/cgroup may hold the path on the host, while the root of the mount is the
// container's group. If the path does not exist, cgroup reads the root, unless that is the
// root of the machine. Only that one has a release_agent (version 1,
// https://docs.kernel.org/admin-guide/cgroup-v1/cgroups.html), and has no memory.current
// (version 2, https://docs.kernel.org/admin-guide/cgroup-v2.html).
func (m *Usage) cgroup(root, path, current, limit, inactive string) {
	dir := filepath.Join(root, path)
	if _, err := os.Stat(filepath.Join(dir, current)); errors.Is(err, fs.ErrNotExist) {
		dir = root
	}
	_, err := os.Stat(filepath.Join(dir, "release_agent"))
	if used := number(filepath.Join(dir, current)); used > 0 && err != nil {
		m.WorkingSet = max(0, used-keyed(filepath.Join(dir, "memory.stat"), inactive))
	}
	for ; strings.HasPrefix(dir, root); dir = filepath.Dir(dir) {
		// version 1 reports "no limit" as a number near 2^63
		if l := number(filepath.Join(dir, limit)); l > 0 && l < 1<<60 && (m.Limit == 0 || l < m.Limit) {
			m.Limit = l
		}
	}
}

// number reads a file that holds one number. It returns 0 if the file does not exist or
// holds something else, such as "max".
func number(file string) int64 {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// keyed returns the number after a key in a file of "key number" lines, or 0.
func keyed(file, key string) int64 {
	f, err := os.Open(file)
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if fields := strings.Fields(s.Text()); len(fields) >= 2 && fields[0] == key {
			n, _ := strconv.ParseInt(fields[1], 10, 64)
			return n
		}
	}
	return 0
}
