package cli

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"
)

// followLines gives each line of the file at path to emit, without its end, and goes on
// until over said yes before the file was read to its end. When another file has the
// name, it goes on with that.
func followLines(ctx context.Context, path string, over func() bool, emit func(line string) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	l := lineReader{r: bufio.NewReader(file), emit: emit}
	for {
		last := over()
		next := successor(path, file)
		if err := l.drain(); err != nil {
			return err
		}
		if next != nil {
			_ = file.Close()
			file = next
			l.r.Reset(file)
			continue
		}
		if last {
			return l.rest()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// successor is the file that took path from file, or nil.
func successor(path string, file *os.File) *os.File {
	now, err := os.Stat(path)
	if err != nil {
		return nil // not yet there
	}
	if then, err := file.Stat(); err != nil || os.SameFile(then, now) {
		return nil
	}
	next, err := os.Open(path)
	if err != nil {
		return nil
	}
	return next
}

// A lineReader cuts lines from what a reader has.
type lineReader struct {
	r    *bufio.Reader
	open strings.Builder // a line whose end has not come
	emit func(string) error
}

// drain emits the lines that are whole.
func (l *lineReader) drain() error {
	for {
		part, err := l.r.ReadString('\n')
		l.open.WriteString(part)
		if errors.Is(err, io.EOF) { // more may come
			return nil
		}
		if err != nil {
			return err
		}
		if err := l.flush(); err != nil {
			return err
		}
	}
}

// rest emits what never got an end.
func (l *lineReader) rest() error {
	if l.open.Len() == 0 {
		return nil
	}
	return l.flush()
}

func (l *lineReader) flush() error {
	line := strings.TrimSuffix(l.open.String(), "\n")
	l.open.Reset()
	return l.emit(line)
}
