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

// progress shows how far a command is: a bar on a terminal, a line now and then
// elsewhere, and on a terminal that cannot go back to the beginning of a line.
type progress struct {
	w        screen
	terminal bool
	start    time.Time
	lines    int // tenths already told of, when there is no terminal
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
	p.draw(ended, todo, fmt.Sprintf("%s%d/%d pairs  %d failed  %.0f pairs/s  %s left  peak %s",
		simulatedMark(j.Simulated), ended, todo, j.Failed, rate, left, config.Mebibytes(memory.Read().PeakRSS)))
}

// draw shows that done of total are done, with what text says.
func (p *progress) draw(done, total int, text string) {
	if p.terminal {
		const width = 24
		full := width * done / total
		line := []rune(fmt.Sprintf("[%s%s] %s", strings.Repeat("█", full), strings.Repeat("·", width-full), text))
		// a line that wraps could not be drawn over
		fmt.Fprint(p.w, "\r\x1b[K"+string(line[:min(len(line), p.w.width-1)]))
		return
	}
	if tenth := 10 * done / total; tenth > p.lines {
		p.lines = tenth
		fmt.Fprintln(p.w, text)
	}
}

func (p *progress) end() {
	if p.terminal {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
