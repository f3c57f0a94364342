//go:build !unix

package app

import "math"

// maxFiles is how many files and connections this process may have open.
func maxFiles() int { return math.MaxInt32 }
