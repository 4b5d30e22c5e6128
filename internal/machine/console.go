package machine

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"sync"
)

// What is kept of a console: a machine may write for ever.
const (
	maxConsoleLine = 4 << 10
	maxConsoleTail = 200      // lines
	maxConsoleLog  = 16 << 20 // bytes in the file
)

// A console copies a serial port to its log and cuts it into lines.
type console struct {
	outs  []io.Writer       // each gets everything, until it fails
	found func(line string) // told of each printable line

	mu   sync.Mutex
	tail []string // guarded by mu
	line []byte   // of the reading goroutine
}

// read follows r to its end. A log that cannot be written any more does not
// stop it: the machine is still to be watched.
func (c *console) read(r io.Reader) error {
	var failed error
	buf := make([]byte, 4<<10)
	for {
		n, err := r.Read(buf)
		failed = errors.Join(failed, c.copy(buf[:n]))
		c.cut(buf[:n])
		if err != nil {
			c.end()
			return errors.Join(failed, notGone(err))
		}
	}
}

func (c *console) copy(p []byte) (failed error) {
	c.outs = slices.DeleteFunc(c.outs, func(w io.Writer) bool {
		_, err := w.Write(p)
		failed = errors.Join(failed, err)
		return err != nil
	})
	return failed
}

// cut adds bytes to the line under way and ends it at each line break, or
// when it is too long.
func (c *console) cut(p []byte) {
	for len(p) > 0 {
		n := min(len(p), maxConsoleLine-len(c.line))
		i := bytes.IndexAny(p[:n], "\r\n")
		if i < 0 {
			c.line = append(c.line, p[:n]...)
			p = p[n:]
		} else {
			c.line = append(c.line, p[:i]...)
			p = p[i+1:]
		}
		if i >= 0 || len(c.line) == maxConsoleLine {
			c.end()
		}
	}
}

func (c *console) end() {
	text := Printable(string(c.line))
	c.line = c.line[:0]
	if text == "" {
		return
	}
	c.keep(text)
	c.found(text)
}

func (c *console) keep(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.tail) == maxConsoleTail {
		c.tail = slices.Delete(c.tail, 0, 1)
	}
	c.tail = append(c.tail, line)
}

func (c *console) lines() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.tail)
}

// A cappedWriter writes no more than left bytes and drops the rest.
type cappedWriter struct {
	io.Writer
	left int
}

func (w *cappedWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.left)
	w.left -= n
	if _, err := w.Writer.Write(p[:n]); err != nil {
		return 0, err
	}
	return len(p), nil
}
