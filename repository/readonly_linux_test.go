package repository

// These tests pin the errors for files and folders this process may not write. Root may
// write everything, so under root they run as another user.

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"tidemark/service"
)

// asNobody runs f without root's access to every file. That access belongs to the
// thread, and here SQLite does everything on the caller's thread.
func asNobody(t *testing.T, f func()) {
	if os.Geteuid() != 0 {
		f()
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	setfsuid := func(uid uintptr) { syscall.RawSyscall(syscall.SYS_SETFSUID, uid, 0, 0) }
	setfsuid(65534)
	defer setfsuid(0)
	f()
}

func TestSQLite_ReadOnly(t *testing.T) {
	for _, c := range []struct {
		name         string
		folder, file os.FileMode
		exists       bool
		want         string
	}{
		{"folder without the file", 0o555, 0, false, "cannot be opened or created"},
		{"folder with the file", 0o555, 0o444, true, "is read-only"},
		{"file in a good folder", 0o777, 0o444, true, "is read-only"},
		{"secret file", 0o777, 0, true, "cannot be opened or created"},
		{"secret folder", 0, 0o666, true, "no permission to look into the folder"},
	} {
		t.Run(c.name, func(t *testing.T) {
			folder := t.TempDir()
			if err := os.Chmod(filepath.Dir(folder), 0o755); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(folder, "test.db")
			d := database{url: "sqlite://" + file}
			if c.exists {
				db, err := Open(t.Context(), d.config())
				if err != nil {
					t.Fatal(err)
				}
				put(t, db, snapshot("BTCUSDT", 0))
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(file, c.file); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(folder, c.folder); err != nil {
				t.Fatal(err)
			}
			defer os.Chmod(folder, 0o755)
			asNobody(t, func() {
				_, opened := Open(t.Context(), d.config())
				_, inspected := Inspect(t.Context(), d.config(), "binance")
				for _, err := range []error{opened, inspected} {
					saysOnly(t, err, c.want)
					if !errors.Is(err, service.ErrStorage) {
						t.Errorf("%v is not ErrStorage", err)
					}
				}
			})
		})
	}
}
