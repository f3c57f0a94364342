//go:build !linux

package app

// DropPages does nothing: it is implemented only on Linux.
func DropPages() {}
