package wiring

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"holdfast/internal/broker/admin"
	"holdfast/internal/enc"
	"holdfast/internal/enc/jwe"
	"holdfast/internal/image/transport"
	"holdfast/internal/input"
)

// An Encryption says what to encrypt for whom.
type Encryption struct {
	Source, Target transport.Ref
	// Recipients are "jwe:FILE", a public key, or "kbs:///REPOSITORY/TYPE/TAG",
	// a resource that the broker shall have; "kbs" alone picks a name. A key
	// that is in the broker's HSM already is "hsm:///REPOSITORY/TYPE/TAG".
	Recipients []string
	Options    transport.Options
}

// An Encrypted image and the broker resources that open it.
type Encrypted struct {
	transport.Result
	Keys []string `json:"keys"`
}

const kekSize = 32

// Encrypt encrypts an image. New keys go to the broker before any byte is
// encrypted under them, so no image is ever left without its key; when there
// is no image in the end, they are taken back.
func Encrypt(ctx context.Context, broker *admin.Client, e Encryption) (_ *Encrypted, err error) {
	out := &Encrypted{Keys: []string{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, forget(context.WithoutCancel(ctx), broker, out.Keys))
		}
	}()
	var recipients []enc.Recipient
	for _, word := range e.Recipients {
		r, kid, err := recipient(ctx, broker, word)
		if err != nil {
			return out, err
		}
		recipients = append(recipients, r)
		if kid != "" {
			out.Keys = append(out.Keys, kid)
		}
	}
	out.Result, err = transport.Encrypt(ctx, e.Source, e.Target, recipients, e.Options)
	return out, err
}

func forget(ctx context.Context, broker *admin.Client, kids []string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, kid := range kids {
		err = errors.Join(err, broker.DeleteResource(ctx, strings.TrimPrefix(kid, kbsScheme)))
	}
	return err
}

// CheckRecipient says whether word has the form of a recipient.
func CheckRecipient(word string) error {
	kid := strings.Replace(word, hsmScheme, kbsScheme, 1)
	if strings.HasPrefix(word, "jwe:") || word == "kbs" || enc.CheckKID(kid) == nil {
		return nil
	}
	return fmt.Errorf("recipient %q: want jwe:FILE, kbs, kbs:///REPOSITORY/TYPE/TAG or hsm:///REPOSITORY/TYPE/TAG", word)
}

func recipient(ctx context.Context, broker *admin.Client, word string) (r enc.Recipient, kid string, err error) {
	if file, ok := strings.CutPrefix(word, "jwe:"); ok {
		public, err := input.ReadFile(file, input.Key)
		if err != nil {
			return nil, "", err
		}
		r, err = jwe.Recipient(public)
		if err != nil {
			err = fmt.Errorf("recipient %s: %w", word, err)
		}
		return r, "", err
	}
	if path, ok := strings.CutPrefix(word, hsmScheme); ok {
		return keptRecipient(ctx, broker, path), "", CheckRecipient(word)
	}
	if word == "kbs" {
		word = kbsScheme + "default/key/" + strings.ToLower(rand.Text()[:12])
	}
	if err := CheckRecipient(word); err != nil {
		return nil, "", err
	}
	kek, err := newKEK(ctx, broker, strings.TrimPrefix(word, kbsScheme))
	if err != nil {
		return nil, "", err
	}
	return enc.BrokerRecipient(word, kek), word, nil
}

// hsmScheme names a key in the broker's HSM.
const hsmScheme = "hsm:///"

// keptRecipient has the broker's HSM wrap each layer's key: the wrapping key is
// never here.
func keptRecipient(ctx context.Context, broker *admin.Client, path string) enc.Recipient {
	return enc.KeptRecipient(kbsScheme+path, func(options []byte) (enc.Packet, error) {
		raw, err := broker.WrapKept(ctx, path, options)
		if err != nil {
			return enc.Packet{}, err
		}
		return enc.ParsePacket(raw)
	})
}

// newKEK makes a key and gives it to the broker, unless it has one of that
// name: an image may need that.
func newKEK(ctx context.Context, broker *admin.Client, path string) ([]byte, error) {
	kek := make([]byte, kekSize)
	if _, err := rand.Read(kek); err != nil {
		return nil, err
	}
	err := broker.CreateResource(ctx, path, kek)
	if errors.Is(err, admin.ErrExist) {
		return nil, fmt.Errorf("broker has %s%s already, and images may need it: choose another name", kbsScheme, path)
	}
	return kek, err
}

// Decrypt decrypts an image with private keys, files each.
func Decrypt(ctx context.Context, src, dst transport.Ref, keyFiles []string, o transport.Options) (transport.Result, error) {
	keys, err := readKeys(keyFiles)
	if err != nil {
		return transport.Result{}, err
	}
	return transport.Decrypt(ctx, src, dst, keys, o)
}

func readKeys(files []string) (keys []enc.Key, err error) {
	for _, file := range files {
		private, err := input.ReadFile(file, input.Key)
		if err != nil {
			return nil, err
		}
		key, err := jwe.Key(private)
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", file, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}
