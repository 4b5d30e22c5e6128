package audit

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"

	"holdfast/internal/api"
	"holdfast/internal/sign"
)

// A Report is what a log was found to be.
type Report struct {
	Lines       int           `json:"lines"`                 // in all files
	Before      int           `json:"before,omitempty"`      // of them, from before there was a chain
	Torn        int           `json:"torn,omitempty"`        // cut off by a crash
	First       int64         `json:"first"`                 // number of the first in the chain; 0 when none is
	Head        api.AuditHead `json:"head"`                  // the last
	Checkpoints int           `json:"checkpoints,omitempty"` // whose signatures are good
	Signed      int64         `json:"signed,omitempty"`      // up to which line a checkpoint vouches
	Problems    []Problem     `json:"problems"`
}

// A Problem is a line that is not what was written.
type Problem struct {
	File string `json:"file"`
	Line int    `json:"line"` // counted from 1 in the file
	What string `json:"what"`
}

func (p Problem) String() string { return fmt.Sprintf("%s, line %d: %s", p.File, p.Line, p.What) }

// mostProblems bounds a report: a log that was shuffled has one in each line.
const mostProblems = 20

// Verify reads the files of a log, the oldest first. Recorded is the head as it
// is kept elsewhere, or nil; roots are those of who may sign checkpoints, or
// nil. An error is about reading, not about the log.
func Verify(files []string, recorded *api.AuditHead, roots *x509.CertPool) (Report, error) {
	c := &checker{Report: Report{Problems: []Problem{}}, recorded: recorded, roots: roots, since: sha256.New()}
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			return c.Report, err
		}
		err = errors.Join(c.read(filepath.Base(path), f), f.Close())
		if err != nil {
			return c.Report, fmt.Errorf("%s: %w", path, err)
		}
	}
	c.finish()
	return c.Report, nil
}

// A checker goes through a log.
type checker struct {
	Report
	recorded *api.AuditHead // what is kept elsewhere
	roots    *x509.CertPool // of who signs checkpoints; nil: they are not looked at

	file  string
	line  int
	since hash.Hash // of all since the last chained line began
	any   bool      // there was something since
	loose int       // lines since the last chained one
	where Problem   // the last loose line
}

func (c *checker) read(name string, r io.Reader) error {
	c.file, c.line = name, 0
	lines := bufio.NewReaderSize(r, 1<<16)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			c.line++
			c.Lines++
			c.take(line)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// take looks at a line, which ends in a newline unless it is the file's last.
func (c *checker) take(line []byte) {
	text := bytes.TrimSuffix(line, []byte("\n"))
	e, ok := chained(text)
	if ok {
		c.link(e)
		c.since.Reset()
		_, _ = c.since.Write(text)
		c.Head = api.AuditHead{Seq: e.Seq, Hash: hashOf(text)}
		c.any, c.loose = true, 0
		c.compare()
		return
	}
	if c.any {
		_, _ = c.since.Write([]byte("\n"))
	}
	_, _ = c.since.Write(text)
	c.any = true
	if c.Head.Seq == 0 {
		c.Before++
		return
	}
	c.Torn++
	if len(text) < len(line) { // else cut off by a crash, at the end: nobody was told of it
		c.loose++
		c.where = Problem{c.file, c.line, "it has no place in the chain: nobody wrote it, or it was changed"}
	}
}

// link judges whether a line follows what is before it.
func (c *checker) link(e api.AuditEntry) {
	follows := e.Prev == "sha256:"+hex.EncodeToString(c.since.Sum(nil))
	last := c.Head.Seq
	if last == 0 {
		c.First = e.Seq
	}
	switch {
	case e.Action == api.AuditGap:
		c.problem("lines were found missing when this one was written: %s", strings.Join(e.Reasons, "; "))
	case last == 0 && e.Seq > 1 && (c.Before > 0 || c.recorded != nil):
		c.problem("it is number %d, and what was before it is missing", e.Seq)
	case last == 0 && e.Seq > 1: // the files of before were not given
	case last == 0 && !follows:
		c.problem("it is the first of the chain, but what is before it was changed")
	case last == 0:
	case e.Seq <= last:
		c.problem("number %d comes after %d: it was moved, doubled or inserted", e.Seq, last)
	case e.Seq > last+1:
		c.problem("number %d comes after %d: %d lines were removed or moved", e.Seq, last, e.Seq-last-1)
	case !follows && c.loose > 0:
		c.problem("what stands between it and number %d is not what was written there", last)
	case !follows:
		c.problem("it does not follow from the line before, number %d: that one was changed, or this one", last)
	}
	if e.Action == api.AuditCheckpoint && follows {
		c.checkpoint(e)
	}
}

func (c *checker) problem(format string, args ...any) {
	c.add(Problem{c.file, c.line, fmt.Sprintf(format, args...)})
}

func (c *checker) add(p Problem) {
	if len(c.Problems) < mostProblems {
		c.Problems = append(c.Problems, p)
	}
}

// compare looks whether a line is the one that was recorded elsewhere.
func (c *checker) compare() {
	if c.recorded != nil && c.recorded.Seq == c.Head.Seq && c.recorded.Hash != c.Head.Hash {
		c.problem("number %d is not the line that was recorded when it was written: it was changed", c.Head.Seq)
	}
}

// checkpoint judges a signature over all that is before it.
func (c *checker) checkpoint(e api.AuditEntry) {
	if c.roots == nil {
		return
	}
	head, err := openCheckpoint(e, c.roots)
	switch {
	case err != nil:
		c.problem("checkpoint: %v", err)
	case head != c.Head:
		c.problem("checkpoint: it vouches for line %d (%s), but before it is %d (%s)", head.Seq, head.Hash, c.Head.Seq, c.Head.Hash)
	default:
		c.Checkpoints++
		c.Signed = head.Seq
	}
}

func openCheckpoint(e api.AuditEntry, roots *x509.CertPool) (head api.AuditHead, err error) {
	env, err := sign.ParseEnvelope(e.Checkpoint)
	if err != nil {
		return head, err
	}
	s, _, err := sign.OpenDocument(env, roots, e.Time)
	if err != nil {
		return head, err
	}
	if s.PredicateType != api.AuditCheckpointType {
		return head, fmt.Errorf("statement says %.80q: want %s", s.PredicateType, api.AuditCheckpointType)
	}
	return head, json.Unmarshal(s.Predicate, &head)
}

// finish judges the end.
func (c *checker) finish() {
	if c.loose > 0 {
		c.add(c.where)
	}
	if c.recorded != nil && c.recorded.Seq > c.Head.Seq {
		c.problem("the log ends with number %d, but %d was written: the last %d lines are missing", c.Head.Seq, c.recorded.Seq, c.recorded.Seq-c.Head.Seq)
	}
}
