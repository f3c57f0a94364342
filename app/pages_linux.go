package app

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"unsafe"
)

// areaSize is the size of the areas that program divides the program's file into.
const areaSize = 8 << 10

// dontDump is MADV_DONTDUMP of asm-generic/mman-common.h, which package syscall lacks.
const dontDump = 16

// program returns the read-only mappings of the program's file: code and constants. It is
// nil if the kernel does not list them.
//
// A page fault of a file maps all pages of the 64 KiB around it that the kernel has in
// memory, within one area of equal properties (fault_around_bytes; do_fault_around in
// mm/memory.c). A sweep uses a quarter of these pages. So program makes the areas small:
// every other one is marked as not for a core dump, which files are not part of anyway. It
// saves 8 MiB of RSS. The additional page faults cost a sweep of 500 pairs 0.07 s.
var program = sync.OnceValue(func() (mappings [][]byte) {
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return nil
	}
	defer maps.Close()
	name, err := os.Executable()
	if err != nil {
		return nil
	}
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var low, high uintptr
		var permissions string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &low, &high, &permissions); err != nil ||
			!strings.Contains(lines.Text(), name) || strings.Contains(permissions, "w") {
			continue // writable pages may have changed
		}
		// The address comes from the kernel; the garbage collector does not manage it.
		start := *(*unsafe.Pointer)(unsafe.Pointer(&low))
		mappings = append(mappings, unsafe.Slice((*byte)(start), high-low))
	}
	for _, m := range mappings {
		for at := 0; at < len(m); at += 2 * areaSize {
			_ = syscall.Madvise(m[at:min(at+areaSize, len(m))], dontDump)
		}
	}
	return mappings
})

// DropPages returns to the kernel the pages of the program's file that the start has
// touched: initialisers and migrations, which do not run again. Pages that are still
// needed are read again from the page cache, at the cost of some page faults. DropPages does
// nothing if the kernel does not list the mappings.
func DropPages() {
	for _, m := range program() {
		_ = syscall.Madvise(m, syscall.MADV_DONTNEED)
	}
}
