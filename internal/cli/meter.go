package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"holdfast/internal/progress"
)

// A meter shows steps: a live line on a terminal, plain lines in a log, JSON
// lines for a program. It writes to standard error only.
type meter struct {
	style meterStyle
	width int
	now   func() time.Time

	mu     sync.Mutex // guards what follows
	w      io.Writer
	active []*meterStep
	drawn  bool // a live line stands on the terminal
	stop   chan struct{}
	idle   sync.WaitGroup
}

type meterStyle int

const (
	lines meterStyle = iota
	bar
	jsonLines
	quiet
)

const (
	redrawEvery = 100 * time.Millisecond
	lineEvery   = 5 * time.Second
	noteAfter   = 2 * time.Second // shorter steps need no word before they end
)

func newMeter(w io.Writer, style meterStyle, width int) *meter {
	return &meter{w: w, style: style, width: width, now: time.Now}
}

type meterStep struct {
	m           *meter
	name, note  string
	total, done int64
	unit        progress.Unit
	began, said time.Time
}

// Start implements progress.Reporter.
func (m *meter) Start(name string, total int64, unit progress.Unit) progress.Step {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.now()
	s := &meterStep{m: m, name: name, total: total, unit: unit, began: t, said: t.Add(noteAfter - lineEvery)}
	m.active = append(m.active, s)
	if m.stop == nil && (m.style == bar || m.style == lines) {
		m.stop = make(chan struct{})
		m.idle.Add(1)
		go m.tick(m.stop)
	}
	m.emit(s, "start", "")
	return s
}

// Close removes the live line and waits for the ticker.
func (m *meter) Close() {
	m.mu.Lock()
	m.erase()
	stop := m.stop
	m.stop = nil
	m.mu.Unlock()
	if stop != nil {
		close(stop)
	}
	m.idle.Wait()
}

// Write puts other text above the live line, so that both stay readable.
func (m *meter) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.erase()
	return m.w.Write(p)
}

// above is w with the live line out of the way: both may be one terminal.
func (m *meter) above(w io.Writer) io.Writer { return aboveMeter{m, w} }

type aboveMeter struct {
	m *meter
	w io.Writer
}

func (a aboveMeter) Write(p []byte) (int, error) {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	a.m.erase()
	return a.w.Write(p)
}

func (m *meter) tick(stop chan struct{}) {
	defer m.idle.Done()
	t := time.NewTicker(redrawEvery)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case <-t.C:
			m.mu.Lock()
			m.refresh()
			m.mu.Unlock()
		}
	}
}

func (m *meter) refresh() {
	if m.style == bar {
		m.draw()
		return
	}
	for _, s := range m.active {
		if m.now().Sub(s.said) >= lineEvery {
			s.said = m.now()
			fmt.Fprintf(m.w, "  … %s\n", s.describe())
		}
	}
}

func (m *meter) draw() {
	if len(m.active) == 0 {
		m.erase()
		return
	}
	s := m.active[len(m.active)-1]
	if m.now().Sub(s.began) < redrawEvery {
		return
	}
	line := fmt.Sprintf("  %s %s", s.gauge(), s.describe())
	if r := []rune(line); m.width > 0 && len(r) >= m.width {
		line = string(r[:m.width-1])
	}
	fmt.Fprintf(m.w, "\r\x1b[K%s", line)
	m.drawn = true
}

func (m *meter) erase() {
	if m.drawn {
		fmt.Fprint(m.w, "\r\x1b[K")
		m.drawn = false
	}
}

func (m *meter) emit(s *meterStep, event, text string) {
	if m.style != jsonLines {
		return
	}
	raw, err := json.Marshal(map[string]any{
		"step": s.name, "event": event, "text": text, "done": s.done, "total": s.total, "unit": s.unit,
		"milliseconds": m.now().Sub(s.began).Milliseconds(),
	})
	if err == nil {
		fmt.Fprintf(m.w, "%s\n", raw)
	}
}

func (m *meter) end(s *meterStep, mark, event, text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, a := range m.active {
		if a == s {
			m.active = append(m.active[:i], m.active[i+1:]...)
			break
		}
	}
	m.emit(s, event, text)
	if m.style != bar && m.style != lines {
		return
	}
	m.erase()
	if text != "" {
		text = ": " + text
	}
	fmt.Fprintf(m.w, "  %s %s%s (%s)\n", mark, s.name, text, round(m.now().Sub(s.began)))
}

func (s *meterStep) Add(n int64) {
	s.m.mu.Lock()
	s.done += n
	s.m.mu.Unlock()
}

func (s *meterStep) Note(text string) {
	s.m.mu.Lock()
	s.note = text
	s.m.mu.Unlock()
}

func (s *meterStep) Done(text string) { s.m.end(s, "✓", "done", text) }
func (s *meterStep) Fail()            { s.m.end(s, "✗", "failed", "") }

// describe says name, amount and note in one line.
func (s *meterStep) describe() string {
	parts := []string{s.name}
	switch {
	case s.unit == progress.Bytes && s.total > 0:
		parts = append(parts, size(s.done)+" of "+size(s.total))
	case s.unit == progress.Bytes && s.done > 0:
		parts = append(parts, size(s.done))
	case s.unit == progress.Items && s.total > 0:
		parts = append(parts, fmt.Sprintf("%d of %d", s.done, s.total))
	}
	if s.note != "" {
		parts = append(parts, s.note)
	}
	return strings.Join(parts, ", ") + " (" + round(s.m.now().Sub(s.began)) + ")"
}

// gauge is a bar when the total is known, a turning mark otherwise.
func (s *meterStep) gauge() string {
	const cells = 16
	if s.total <= 0 {
		frames := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
		return string(frames[int(s.m.now().Sub(s.began)/redrawEvery)%len(frames)])
	}
	full := int(cells * min(s.done, s.total) / s.total)
	return "[" + strings.Repeat("█", full) + strings.Repeat("·", cells-full) + "]"
}

func round(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

// size writes bytes as a person would, in powers of ten.
func size(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d B", n)
}
