//go:build cgo

// Command holdfast-pkcs11 holds a vendor's PKCS#11 library for holdfast, which
// starts it: the library's C code never shares memory with the broker. It reads
// requests from standard input and answers on standard output, as
// docs/formats/pkcs11-helper.md has it, until its input ends.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"

	"holdfast/internal/hsm"
	"holdfast/internal/input"
)

// atOnce bounds the requests that are worked on, each with a session.
const atOnce = 4

func main() {
	module := flag.String("module", "", "the vendor's PKCS#11 `library`")
	label := flag.String("token", "", "`label` of the token")
	pin := flag.String("pin-file", "", "`file` that holds the user's PIN")
	flag.Parse()
	quiet()
	out, err := ownOutput()
	if err == nil {
		err = run(os.Stdin, out, *module, *label, *pin)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "holdfast-pkcs11:", err)
		os.Exit(1)
	}
}

// quiet keeps the PIN and keys out of core dumps and from other processes.
func quiet() {
	const setDumpable = 4 // PR_SET_DUMPABLE of prctl(2)
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, setDumpable, 0, 0)
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
}

// ownOutput keeps standard output for the protocol: what the library prints
// goes to standard error.
func ownOutput() (io.Writer, error) {
	fd, err := syscall.Dup(1)
	if err != nil {
		return nil, err
	}
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "answers"), syscall.Dup3(2, 1, 0)
}

func run(in io.Reader, out io.Writer, module, label, pinFile string) error {
	pin, err := input.ReadFile(pinFile, 4096)
	if err != nil {
		return err
	}
	t, err := openToken(module, label, strings.TrimRight(string(pin), "\r\n"))
	clear(pin)
	if err != nil {
		return greet(out, hsm.Hello{Protocol: hsm.Protocol, Error: err.Error(), Code: codeOf(err)})
	}
	defer t.close()
	if err := greet(out, hsm.Hello{Protocol: hsm.Protocol, Module: t.module, Token: label}); err != nil {
		return err
	}
	return serve(in, out, t)
}

func greet(out io.Writer, hello hsm.Hello) error { return hsm.WriteMessage(out, hello) }

func serve(in io.Reader, out io.Writer, t *token) error {
	var work sync.WaitGroup
	defer work.Wait()
	var mu sync.Mutex // held while an answer is written
	for {
		var r hsm.Request
		if err := hsm.ReadMessage(in, &r); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		s := <-t.sessions
		work.Go(func() {
			answer, err := s.do(r)
			t.sessions <- s
			if err != nil {
				answer = hsm.Response{Error: err.Error(), Code: codeOf(err)}
			}
			answer.Number = r.Number
			mu.Lock()
			defer mu.Unlock()
			if hsm.WriteMessage(out, answer) != nil || lost(err) {
				os.Exit(1) // holdfast starts another, which logs in anew
			}
		})
	}
}
