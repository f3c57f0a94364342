//go:build !linux

package app

// DropPages does its work on Linux only.
func DropPages() {}
