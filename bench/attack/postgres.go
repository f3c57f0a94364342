//go:build linux

package main

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	_ "github.com/lib/pq"
)

// postgres is the server scripts/with-postgres has made for this command.
type postgres struct {
	address, restart, dir string
	frozen                []int
}

func openPostgres() (*postgres, error) {
	p := &postgres{address: os.Getenv("TIDEMARK_TEST_POSTGRES"), restart: os.Getenv("TIDEMARK_TEST_POSTGRES_CRASH")}
	m := regexp.MustCompile(` -D (\S+)`).FindStringSubmatch(p.restart)
	if p.address == "" || m == nil {
		return nil, errors.New("there is no PostgreSQL: run scripts/attack")
	}
	p.dir = m[1]
	return p, nil
}

// fresh returns the address of a database of its own.
func (p *postgres) fresh() (string, error) {
	name := fmt.Sprintf("attack_%d", time.Now().UnixNano())
	u, err := url.Parse(p.address)
	if err != nil {
		return "", errors.New("TIDEMARK_TEST_POSTGRES is no address")
	}
	db, err := sql.Open("postgres", p.address)
	if err != nil {
		return "", err
	}
	defer db.Close()
	if _, err := db.Exec("CREATE DATABASE " + name); err != nil {
		return "", fmt.Errorf("a database: %w", err)
	}
	u.Path = "/" + name
	return u.String(), nil
}

// freeze stops the server and all its children where they are.
func (p *postgres) freeze() error {
	b, err := os.ReadFile(filepath.Join(p.dir, "postmaster.pid"))
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(string(b), "\n")
	main, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil {
		return err
	}
	p.frozen = append([]int{main}, children(main)...)
	for _, pid := range p.frozen {
		syscall.Kill(pid, syscall.SIGSTOP)
	}
	return nil
}

// children lists the processes whose parent is pid.
func children(pid int) (all []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range files {
		b, _ := os.ReadFile(f)
		_, rest, ok := strings.Cut(string(b), ") ")
		if fields := strings.Fields(rest); ok && len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			if n, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); err == nil {
				all = append(all, n)
			}
		}
	}
	return all
}

func (p *postgres) thaw() {
	for _, pid := range p.frozen {
		syscall.Kill(pid, syscall.SIGCONT)
	}
	p.frozen = nil
}

// crash has the server crash and start again.
func (p *postgres) crash() error { return p.run(p.restart) }

// stop has the server crash and stay away.
func (p *postgres) stop() error {
	return p.run(strings.TrimSuffix(p.restart, "restart") + "stop")
}

// heal has the server serve, whatever became of it.
func (p *postgres) heal() error {
	p.thaw()
	if _, err := os.Stat(filepath.Join(p.dir, "postmaster.pid")); err == nil {
		return nil
	}
	return p.crash()
}

func (p *postgres) run(command string) error {
	// not a pipe: the server would hold it open
	cmd := exec.Command("sh", "-c", command+" >/dev/null 2>&1")
	return cmd.Run()
}
