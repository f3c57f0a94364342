//go:build !unix

package app

import "math"

// maxFiles returns the number of files and connections this process may open.
func maxFiles() int { return math.MaxInt32 }
