package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"holdfast/internal/api"
)

// A place is the end of the log, where the next line goes.
type place struct {
	file os.FileInfo // nil: not looked at, or not there
	size int64
	torn bool          // a crash cut the last line off
	head api.AuditHead // of the last line that is chained; its Seq is 0 when none is
	prev string        // what the next line names
	kept api.AuditHead // what was recorded elsewhere, where that is further
}

// next makes a line of e, behind others in lines, and moves on behind it.
func (p *place) next(lines []byte, e api.AuditEntry) ([]byte, error) {
	e.Seq, e.Prev = p.head.Seq+1, p.prev
	if e.Action == api.AuditGap {
		e.Seq = p.kept.Seq + 1
	}
	from := len(lines)
	lines, err := appendEntry(lines, &e)
	if err != nil {
		return nil, err
	}
	p.prev = hashOf(lines[from:])
	p.head, p.torn, p.kept = api.AuditHead{Seq: e.Seq, Hash: p.prev}, false, api.AuditHead{}
	return lines, nil
}

// note is what the log has to say of itself before it goes on.
func (p *place) note() *api.AuditEntry {
	switch {
	case p.kept.Seq > 0:
		return &api.AuditEntry{Action: api.AuditGap, Decision: api.AuditRefuse, Reasons: []string{fmt.Sprintf(
			"the log ends with line %d (%s), but line %d (%s) had been written", p.head.Seq, p.head.Hash, p.kept.Seq, p.kept.Hash)}}
	case p.head.Seq == 0 && p.size > 0:
		return &api.AuditEntry{Action: api.AuditBegin, Decision: api.AuditAllow, Subject: fmt.Sprintf("%d bytes before, %s", p.size, p.prev)}
	}
	return nil
}

// find looks at the end of the log, unless it is as this process left it.
func (l *Log) find() error {
	info, err := os.Stat(l.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && l.last.head.Seq > 0 && info.Size() == l.last.size && l.last.file != nil && os.SameFile(info, l.last.file) {
		return nil
	}
	if l.last, err = end(l.cfg.Dir); err != nil {
		return fmt.Errorf("find the end of %s: %w", l.path, err)
	}
	if l.signed < 0 {
		l.signed = l.last.head.Seq // whoever wrote these may have signed them
	}
	kept, err := l.cfg.Head.AuditHead(context.Background())
	if err != nil {
		return err
	}
	if kept.Seq > l.last.head.Seq || kept.Seq == l.last.head.Seq && kept.Hash != l.last.head.Hash {
		l.last.kept = kept
	}
	return nil
}

// end reads the log backwards until it meets a line that is chained.
func end(dir string) (place, error) {
	files, err := Files(dir)
	if err != nil || len(files) == 0 {
		return place{prev: hashOf(nil)}, err
	}
	last := files[len(files)-1]
	p, err := endOf(last)
	if err != nil || filepath.Base(last) == File && (p.size > 0 || len(files) == 1) {
		return p, err
	}
	if filepath.Base(last) == File {
		p, err = endOf(files[len(files)-2])
	}
	return place{head: p.head, prev: p.prev}, err // a crash came between two files
}

func endOf(path string) (place, error) {
	f, err := os.Open(path)
	if err != nil {
		return place{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return place{}, err
	}
	p := place{file: info, size: info.Size()}
	// Twice as much each time: nearly always the first is enough.
	for n := int64(1 << 16); ; n *= 2 {
		from := max(0, p.size-n)
		tail := make([]byte, p.size-from)
		if _, err := f.ReadAt(tail, from); err != nil {
			return p, err
		}
		if p.judge(tail, from == 0) {
			return p, nil
		}
	}
}

// judge finds the last chained line in the end of a file, and tells whether it
// did or there is none.
func (p *place) judge(tail []byte, whole bool) bool {
	text := bytes.TrimSuffix(tail, []byte("\n"))
	p.torn = len(text) == len(tail) && len(tail) > 0
	for stop := len(text); stop > 0; {
		start := bytes.LastIndexByte(text[:stop], '\n') + 1
		if start == 0 && !whole {
			return false // perhaps not all of the line
		}
		if e, ok := chained(text[start:stop]); ok {
			p.head = api.AuditHead{Seq: e.Seq, Hash: hashOf(text[start:stop])}
			p.prev = hashOf(text[start:])
			return true
		}
		stop = start - 1
	}
	p.prev = hashOf(text)
	return whole
}

// chained reads a line that has a place in the chain.
func chained(line []byte) (e api.AuditEntry, ok bool) {
	err := json.Unmarshal(line, &e)
	return e, err == nil && e.Seq > 0 && e.Prev != ""
}
