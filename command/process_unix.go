//go:build unix

package command

import (
	"os"
	"syscall"
	"time"
)

// resizes are the signals that the size of the terminal has changed.
var resizes = []os.Signal{syscall.SIGWINCH}

// setSequences makes a terminal follow control sequences, and reports whether it does.
func setSequences(*os.File) bool { return true }

// cpuSeconds returns the processor time of this process.
func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// freeBytes returns the bytes of a disk that this user may still fill.
func freeBytes(folder string) (int64, error) {
	var s syscall.Statfs_t
	err := syscall.Statfs(folder, &s)
	return int64(s.Bavail) * int64(s.Bsize), err
}

// fileLimit returns the number of files this process may have open.
func fileLimit() (uint64, error) {
	var r syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r)
	return uint64(r.Cur), err
}
