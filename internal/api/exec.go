package api

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
)

// A Command is one that the host may start in a running container, as the
// container's user and with its variables.
type Command struct {
	Args []string `json:"args"`
	// Pattern says that each of Args is a regular expression (RE2's syntax), and that
	// all of an argument has to match. Their number is what it is.
	Pattern bool `json:"pattern,omitempty"`
	// Streams lists what the host may have of its streams, as a Container's.
	Streams  []string `json:"streams,omitempty"`
	Terminal bool     `json:"terminal,omitempty"` // it may have one
}

// The calls about commands. Those of containers are for commands, too, where their
// params have an Exec.
const (
	CallExec   = "exec"   // params ExecParams; replies ExecDetail: start lets it run
	CallResize = "resize" // params ResizeParams: of a terminal
)

// ExecParams ask for a command in a container.
type ExecParams struct {
	Container string   `json:"container"`
	Args      []string `json:"args"`
	Terminal  bool     `json:"terminal,omitempty"`
	Stdin     bool     `json:"stdin,omitempty"`
}

// ExecDetail is the name that a command has until it is deleted, and its streams.
type ExecDetail struct {
	Exec  uint64 `json:"exec"`
	First byte   `json:"first"`
}

// ResizeParams say how large a terminal is.
type ResizeParams struct {
	ContainerParams
	Width  uint16 `json:"width"`
	Height uint16 `json:"height"`
}

// Allows says whether a command is this one.
func (c Command) Allows(args []string) bool {
	if !c.Pattern {
		return slices.Equal(c.Args, args)
	}
	return slices.EqualFunc(c.Args, args, func(pattern, arg string) bool {
		whole, err := regexp.Compile(`\A(?s:` + pattern + `)\z`)
		return err == nil && whole.MatchString(arg)
	})
}

// maxCommands bounds what each call is held against.
const maxCommands = 256

func (c Command) check() error {
	if len(c.Args) == 0 {
		return errors.New("exec: want a command")
	}
	for _, pattern := range c.Args {
		if _, err := regexp.Compile(pattern); c.Pattern && err != nil {
			return fmt.Errorf("exec: %w", err)
		}
	}
	return checkStreams(c.Streams)
}

func checkStreams(all []string) error {
	for i, s := range all {
		if s != StreamLogs && s != StreamInput || slices.Contains(all[:i], s) {
			return fmt.Errorf("stream %.40q: want %s or %s, once", s, StreamLogs, StreamInput)
		}
	}
	return nil
}
