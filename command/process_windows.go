package command

import (
	"math"
	"os"
	"time"

	"golang.org/x/sys/windows"
)

// resizes are the signals that the size of the terminal has changed. An unrelated one
// stands for none, since signal.Notify takes none as all.
var resizes = []os.Signal{windows.SIGALRM}

// setSequences makes a terminal follow control sequences, and reports whether it does.
func setSequences(f *os.File) bool {
	var mode uint32
	console := windows.Handle(f.Fd())
	return windows.GetConsoleMode(console, &mode) == nil &&
		windows.SetConsoleMode(console, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) == nil
}

// cpuSeconds returns the processor time of this process.
func cpuSeconds() float64 {
	var created, exited, kernel, user windows.Filetime
	if err := windows.GetProcessTimes(windows.CurrentProcess(), &created, &exited, &kernel, &user); err != nil {
		return 0
	}
	ticks := func(f windows.Filetime) int64 { return int64(f.HighDateTime)<<32 | int64(f.LowDateTime) } // of 100 ns
	return (time.Duration(ticks(kernel)+ticks(user)) * 100).Seconds()
}

// freeBytes returns the bytes of a disk that this user may still fill.
func freeBytes(folder string) (int64, error) {
	name, err := windows.UTF16PtrFromString(folder)
	if err != nil {
		return 0, err
	}
	var free uint64
	err = windows.GetDiskFreeSpaceEx(name, &free, nil, nil)
	return int64(min(free, math.MaxInt64)), err
}

// fileLimit returns the number of files this process may have open: Windows has no limit.
func fileLimit() (uint64, error) { return math.MaxInt64, nil }
