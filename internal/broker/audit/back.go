package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A Mark is where a line of a log begins or ends: files only grow, and one that
// is full keeps its number, so it holds for good. The zero Mark is the end.
type Mark struct {
	File   int // audit-FILE.jsonl, or the one that is being written
	Offset int64
}

func (m Mark) String() string { return fmt.Sprintf("%d.%d", m.File, m.Offset) }

// ParseMark reads what String wrote; nothing is the end.
func ParseMark(text string) (Mark, error) {
	if text == "" {
		return Mark{}, nil
	}
	file, offset, _ := strings.Cut(text, ".")
	n, err := strconv.ParseUint(file, 10, 31)
	at, err2 := strconv.ParseUint(offset, 10, 62)
	if err != nil || err2 != nil || n == 0 {
		return Mark{}, fmt.Errorf("place %.40q of the audit log: want FILE.OFFSET", text)
	}
	return Mark{int(n), int64(at)}, nil
}

// Before tells which of two places is the earlier.
func (m Mark) Before(other Mark) bool {
	return m.File < other.File || m.File == other.File && m.Offset < other.Offset
}

const (
	backChunk = 64 << 10
	backLine  = 1 << 20 // a longer one is no entry
)

// Back reads the lines of a folder's log that begin before a place, the latest
// first, until read has enough. It holds one line and some more in memory. The
// line is good until read returns.
func Back(dir string, from Mark, read func(line []byte, at Mark) (more bool)) error {
	files, err := Files(dir)
	if err != nil {
		return err
	}
	if (from == Mark{}) || from.File > len(files) {
		from = Mark{len(files), -1}
	}
	for n := from.File; n >= 1; n-- {
		more, err := backFile(files[n-1], n, from.Offset, read)
		if errors.Is(err, fs.ErrNotExist) && filepath.Base(files[n-1]) == File {
			continue // it was put away meanwhile: its lines are told next time
		}
		if err != nil || !more {
			return err
		}
		from.Offset = -1
	}
	return nil
}

// backFile reads one file from end, or from its own when that is negative.
func backFile(path string, n int, end int64, read func([]byte, Mark) bool) (more bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	if end < 0 || end > info.Size() {
		end = info.Size()
	}
	var rest []byte // the beginning of what was read, whose line began earlier
	for end > 0 {
		size := min(end, backChunk)
		chunk := make([]byte, size, int(size)+len(rest))
		if _, err := f.ReadAt(chunk, end-size); err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		end -= size
		rest = append(chunk, rest...)
		for {
			i := bytes.LastIndexByte(bytes.TrimSuffix(rest, []byte("\n")), '\n') + 1
			if i == 0 && end > 0 {
				break
			}
			if line := bytes.TrimSuffix(rest[i:], []byte("\n")); len(line) > 0 && len(line) <= backLine && !read(line, Mark{n, end + int64(i)}) {
				return false, nil
			}
			if rest = rest[:i]; i == 0 {
				break
			}
		}
		if len(rest) > backLine+backChunk {
			rest = rest[:backLine+backChunk] // too long for a line anyway
		}
	}
	return true, nil
}
