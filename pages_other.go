//go:build !linux

package main

// dropPages does its work on Linux only.
func dropPages() {}
