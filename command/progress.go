package command

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"tidemark/config"
	"tidemark/job"
	"tidemark/memory"
)

// progress shows the progress of a command: as a bar on a terminal, and as a line for
// each tenth elsewhere and on a dumb terminal.
type progress struct {
	w        screen
	terminal bool
	start    time.Time
	tenths   int // last tenth printed, without a terminal
}

func newProgress(w io.Writer, environ []string) *progress {
	s := newScreen(w, environ)
	return &progress{w: s, terminal: s.width > 0 && !slices.Contains(environ, "TERM=dumb"), start: time.Now()}
}

func (p *progress) every() time.Duration {
	if p.terminal {
		return 100 * time.Millisecond
	}
	return 500 * time.Millisecond
}

func (p *progress) show(j job.Job) {
	ended := j.Done + j.Failed
	todo := j.Symbols - j.Skipped
	if todo == 0 {
		return // not listed yet
	}
	rate := float64(ended) / time.Since(p.start).Seconds()
	left := "?"
	if ended > 0 {
		left = time.Duration(float64(todo-ended) / rate * float64(time.Second)).Round(time.Second).String()
	}
	p.draw(ended, todo, p.w.simulatedMark(j.Simulated)+p.w.say("progress", "done", ended, "all", todo, "failed", j.Failed,
		"rate", fmt.Sprintf("%.0f", rate), "left", left, "peak", config.FormatBytes(memory.Read().PeakRSS)))
}

// draw shows that done of total are done, followed by text.
func (p *progress) draw(done, total int, text string) {
	if p.terminal {
		const width = 24
		full := width * done / total
		line := fmt.Sprintf("[%s%s] %s", strings.Repeat("█", full), strings.Repeat("·", width-full), text)
		// a wrapped line could not be overwritten
		fmt.Fprint(p.w, "\r\x1b[K"+cut(line, p.w.width-1))
		return
	}
	if tenth := 10 * done / total; tenth > p.tenths {
		p.tenths = tenth
		fmt.Fprintln(p.w, text)
	}
}

func (p *progress) end() {
	if p.terminal {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
