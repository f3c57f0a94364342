//go:build unix

package repository

import (
	"net"
	"syscall"
)

// silent reports whether nothing has arrived on a connection, not even its end. It does
// not wait. A connection that a firewall dropped without notice is silent, too.
func silent(c net.Conn) bool {
	with, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := with.SyscallConn()
	if err != nil {
		return false
	}
	nothing := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK) // the descriptor does not block
		nothing = err == syscall.EAGAIN
		return true
	})
	return err == nil && nothing
}
