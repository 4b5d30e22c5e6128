package node

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"holdfast/internal/api"
)

// A frame that is read is the bytes that were sent, and is written the same.
//
//fuzz:parser stdio.go:readFrame,write
func FuzzFrame(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x03abc"))
	f.Add([]byte("\x01\xff\xff\xff\xff"))
	f.Add([]byte("\x00\x00\x00\x00\x00\x02\x00\x00\x00\x01x"))
	buffer := make([]byte, api.MaxFrame)
	f.Fuzz(func(t *testing.T, b []byte) {
		var again bytes.Buffer
		out := &frames{w: &again}
		for in := bytes.NewReader(b); ; {
			stream, payload, err := readFrame(in, buffer)
			if err != nil {
				break
			}
			if err := out.write(stream, payload); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.HasPrefix(b, again.Bytes()) {
			t.Errorf("%q reads as %q", b, again.Bytes())
		}
	})
}

// Only the document that names every key as it should be gives a
// configuration, and only known calls are allowed by it.
//
//fuzz:parser initdata.go:parseInitData,parseGuestConfig,plainNames
func FuzzInitData(f *testing.F) {
	f.Add([]byte(goodDocument))
	f.Add([]byte("version = 1"))
	f.Add([]byte(strings.Replace(goodDocument, "[data]", "[data.x]", 1)))
	f.Fuzz(func(t *testing.T, document []byte) {
		c, err := parseInitData(document)
		if err != nil {
			return
		}
		checkConfig(t, c.guest)
		if !bytes.Contains(document, []byte("sha256")) || !bytes.Contains(document, []byte("0.1.0")) {
			t.Errorf("accepted %q", document)
		}
	})
}

// The JSON inside: its names are the configuration's own, each once, and what
// is read is read back.
//
//fuzz:parser initdata.go:parseGuestConfig,plainNames
func FuzzGuestConfig(f *testing.F) {
	f.Add([]byte(`{"image":"r:5000/app@sha256:00","registry":{"url":"https://r","ca":"c"},"broker":{"url":"","ca":""},"process":{"args":["a"],"env":["A=b"],"terminal":true},"secrets":[{"name":"n","resource":"kbs:///a/b/c"}],"control":["stop","signal"]}`))
	f.Add([]byte(`{"ſecrets":[],"process":{}}`))
	f.Add([]byte(`{"image":"a","image":"b"}`))
	f.Add([]byte(strings.Repeat(`{"process":`, 20) + strings.Repeat("}", 20)))
	known := namesOf(reflect.TypeFor[api.GuestConfig]())
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parseGuestConfig(text)
		if err != nil {
			return
		}
		checkConfig(t, c)
		var anything any
		if err := json.Unmarshal(text, &anything); err != nil {
			t.Fatalf("accepted what is no JSON: %v", err)
		}
		eachName(anything, func(name string) {
			if !slices.Contains(known, name) {
				t.Errorf("accepted the name %q", name)
			}
		})
		raw, _ := json.Marshal(c)
		again, err := parseGuestConfig(raw)
		if second, _ := json.Marshal(again); err != nil || !bytes.Equal(raw, second) {
			t.Errorf("%s reads back as %s, %v", raw, second, err)
		}
	})
}

func checkConfig(t *testing.T, c api.GuestConfig) {
	for _, call := range c.Control {
		if call != api.CallSignal && call != api.CallStop && call != api.CallStdin {
			t.Errorf("allows %q", call)
		}
	}
}

// namesOf lists the JSON names of a type and of all types in it.
func namesOf(t reflect.Type) (names []string) {
	switch t.Kind() {
	case reflect.Slice, reflect.Pointer, reflect.Map:
		return namesOf(t.Elem())
	case reflect.Struct:
		for _, field := range reflect.VisibleFields(t) {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			names = append(append(names, name), namesOf(field.Type)...)
		}
	}
	return names
}

func eachName(v any, fn func(string)) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			eachName(e, fn)
		}
	case map[string]any:
		for name, e := range v {
			fn(name)
			eachName(e, fn)
		}
	}
}

// What the host hands over is taken whole or not at all.
//
//fuzz:parser initdata.go:readInitData partitions.go:readInt
func FuzzFirmwareConfig(f *testing.F) {
	f.Add("7\n", []byte("1234567"))
	f.Add("8", []byte("1234567"))
	f.Add("-1", []byte(""))
	f.Add("99999999999999999999", []byte("x"))
	f.Fuzz(func(t *testing.T, size string, raw []byte) {
		dir := t.TempDir()
		for name, b := range map[string][]byte{"size": []byte(size), "raw": raw} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		document, err := readInitData(dir)
		if err != nil {
			return
		}
		if n, err := strconv.Atoi(strings.TrimSpace(size)); err != nil || len(document) != n || len(document) > maxInitData || !bytes.HasPrefix(raw, document) {
			t.Errorf("size %q gave %d bytes of %d", size, len(document), len(raw))
		}
	})
}

//fuzz:parser root.go:parseRootHash
func FuzzRootHash(f *testing.F) {
	hash := strings.Repeat("0a", 32)
	f.Add("console=ttyS0 " + rootOption + "=" + hash)
	f.Add(rootOption + "=" + hash + " " + rootOption + "=" + hash)
	f.Add(rootOption + "=" + hash[2:])
	f.Fuzz(func(t *testing.T, line string) {
		root, err := parseRootHash(line)
		if err != nil {
			return
		}
		want := fmt.Sprintf("%s=%x", rootOption, root)
		if strings.Count(strings.ToLower(line), want) != 1 {
			t.Errorf("%q has not just one %s", line, want)
		}
	})
}

// A control channel that nothing was allowed to obeys nothing, answers every
// line with one reply, and never with more than the line had.
//
//fuzz:parser control.go:read,skipLine,refuse,answer,perform,signal,unmarshalStrictly
func FuzzCall(f *testing.F) {
	f.Add([]byte(`{"id":1,"call":"signal","params":{"signal":"SIGTERM"}}` + "\n" + `{"id":2,"call":"status"}` + "\n"))
	f.Add([]byte(`{"id":1,"call":"stop"}` + "\n" + `{"id":3,"call":"goodbye"}` + "\n{}\n\n"))
	f.Add(append(bytes.Repeat([]byte("x"), api.MaxLine+10), "\n{\"call\":\"status\"}\n"...))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := newControl()
		replies := make(chan int)
		go func() {
			n := 0
			for range c.events {
				n++
			}
			replies <- n
		}()
		if err := c.read(bytes.NewReader(data)); err != io.EOF {
			t.Errorf("got %v, want the end", err)
		}
		close(c.events)
		if got, want := <-replies, bytes.Count(data, []byte("\n")); got != want {
			t.Errorf("%d lines got %d replies", want, got)
		}
		if len(c.signals) > 0 || c.stopped {
			t.Error("a call was obeyed that no configuration allows")
		}
	})
}

// One that may send signals sends those that are asked for, and no others.
//
//fuzz:parser control.go:answer,perform,signal,unmarshalStrictly
func FuzzAllowedCall(f *testing.F) {
	f.Add([]byte(`{"id":1,"call":"signal","params":{"signal":"SIGTERM"}}`))
	f.Add([]byte(`{"id":1,"call":"signal","params":{"signal":"TERM","x":1}}`))
	f.Add([]byte(`{"id":1,"call":"stop","params":null}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		c := newControl()
		c.allow([]string{api.CallSignal})
		e := c.answer(line)
		if e.Event != api.EventReply || len(e.Error) > 1024 || len(e.Detail) > 0 && !json.Valid(e.Detail) {
			t.Errorf("answer %+v", e)
		}
		if c.stopped || len(c.signals) > 1 || len(c.signals) == 1 && e.Error != "" {
			t.Errorf("stopped %t, %d signals, answer %+v", c.stopped, len(c.signals), e)
		}
	})
}
