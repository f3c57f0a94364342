package repository

// This test pins that a process can stop while its database does not answer.

import (
	"context"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"
)

// stalling is a connection to the server that passes nothing on while its lock is held:
// the server is frozen, not down.
type stalling struct{ sync.RWMutex }

func (s *stalling) pass(to, from net.Conn) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		s.RLock()
		if n > 0 {
			_, _ = to.Write(b[:n])
		}
		s.RUnlock()
		if err != nil {
			to.Close()
			return
		}
	}
}

// stallingTo returns d with connections through a stalling proxy.
func stallingTo(t *testing.T, d database) (*stalling, database) {
	u, err := url.Parse(d.url)
	if err != nil {
		t.Fatal(err)
	}
	server := u.Host
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u.Host = listener.Addr().String()
	s := &stalling{}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", server)
			if err != nil {
				c.Close()
				return
			}
			work.Go(func() { s.pass(to, c) })
			work.Go(func() { s.pass(c, to) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		work.Wait()
	})
	return s, database{u.String(), true}
}

func TestStopWork_ReturnsWhileTheServerIsFrozen(t *testing.T) {
	t.Parallel()
	frozen, d := stallingTo(t, onPostgres(t))
	db, err := Open(t.Context(), d.config())
	if err != nil {
		t.Fatal(err)
	}
	var freeze sync.Once
	begun := make(chan struct{})
	works(t, db, &fakeWorker{BatchFunc: func(int) error { // its end cannot be stored
		freeze.Do(func() { frozen.Lock(); close(begun) })
		return nil
	}})
	stopped := db.queue.client.Stopped()
	submitted(t, db, "j", "w")
	<-begun
	time.Sleep(beatEvery) // a heartbeat is in progress too
	start := time.Now()
	stopping, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := db.StopWork(stopping); err == nil {
		t.Error("the stop says that all went well")
	}
	if took := time.Since(start); took > 30*time.Second { // its second and stopGrace, on a slow machine
		t.Errorf("the stop took %s, want its second and at most %s", took, stopGrace)
	}
	start = time.Now()
	db.Close() // it may return an error, but it must return
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("closing took %s", took)
	}
	frozen.Unlock()
	<-stopped // River's remaining goroutines end now
}
