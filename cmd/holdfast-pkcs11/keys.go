//go:build cgo

package main

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"github.com/miekg/pkcs11"

	"holdfast/internal/hsm"
)

// maxKeys bounds a list.
const maxKeys = 256

func label(text string) *pkcs11.Attribute { return pkcs11.NewAttribute(pkcs11.CKA_LABEL, text) }
func class(c uint) *pkcs11.Attribute      { return pkcs11.NewAttribute(pkcs11.CKA_CLASS, c) }

func (s *session) find(max int, template ...*pkcs11.Attribute) ([]pkcs11.ObjectHandle, error) {
	if err := s.FindObjectsInit(s.handle, template); err != nil {
		return nil, err
	}
	found, _, err := s.FindObjects(s.handle, max)
	return found, errors.Join(err, s.FindObjectsFinal(s.handle))
}

// one finds the key of a class that is called name.
func (s *session) one(c uint, name string) (pkcs11.ObjectHandle, error) {
	found, err := s.find(2, class(c), label(name))
	switch {
	case err != nil:
		return 0, err
	case len(found) == 0:
		return 0, fmt.Errorf("%w: %q", errAbsent, name)
	case len(found) > 1:
		return 0, fmt.Errorf("several keys are called %q", name)
	}
	return found[0], nil
}

func (s *session) list(name string) (infos []hsm.Info, err error) {
	for _, c := range []uint{pkcs11.CKO_SECRET_KEY, pkcs11.CKO_PRIVATE_KEY} {
		template := []*pkcs11.Attribute{class(c)}
		if name != "" {
			template = append(template, label(name))
		}
		found, err := s.find(maxKeys, template...)
		if err != nil {
			return nil, err
		}
		for _, object := range found {
			info, err := s.info(object, c)
			if err != nil {
				return nil, err
			}
			infos = append(infos, info)
		}
	}
	return infos, nil
}

func (s *session) info(object pkcs11.ObjectHandle, c uint) (hsm.Info, error) {
	got, err := s.GetAttributeValue(s.handle, object, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, nil), pkcs11.NewAttribute(pkcs11.CKA_ID, nil), pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, nil),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, nil), pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, nil),
		pkcs11.NewAttribute(pkcs11.CKA_NEVER_EXTRACTABLE, nil), pkcs11.NewAttribute(pkcs11.CKA_ALWAYS_SENSITIVE, nil),
	})
	if err != nil {
		return hsm.Info{}, err
	}
	yes := func(n int) bool { return len(got[n].Value) > 0 && got[n].Value[0] != 0 }
	i := hsm.Info{Label: string(got[0].Value), ID: got[1].Value, Class: "private", Type: typeName(got[2].Value),
		Sensitive: yes(3), Extractable: yes(4), NeverExtractable: yes(5) && yes(6)}
	if c == pkcs11.CKO_SECRET_KEY {
		i.Class = "secret"
	}
	return i, nil
}

func typeName(raw []byte) string {
	for name, t := range map[string]uint{"AES": pkcs11.CKK_AES, "EC": pkcs11.CKK_EC, "RSA": pkcs11.CKK_RSA} {
		if string(raw) == string(pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, t).Value) {
			return name
		}
	}
	return fmt.Sprintf("%x", raw)
}

// prime256v1, SEC 2, section 2.4.2, as a DER object identifier.
var p256 = []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}

// generate makes a key that stays inside for ever.
func (s *session) generate(name string, id []byte, kind hsm.Kind) error {
	if there, err := s.list(name); err != nil || len(there) > 0 {
		return cmp.Or(err, errExists)
	}
	own := []*pkcs11.Attribute{label(name), pkcs11.NewAttribute(pkcs11.CKA_ID, id), pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true)}
	inside := append(own, pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true), pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false))
	can := func(use uint) *pkcs11.Attribute { return pkcs11.NewAttribute(use, true) }
	mechanism := func(m uint) []*pkcs11.Mechanism { return []*pkcs11.Mechanism{pkcs11.NewMechanism(m, nil)} }
	curve := pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, p256)
	bits, exponent := pkcs11.NewAttribute(pkcs11.CKA_MODULUS_BITS, 3072), pkcs11.NewAttribute(pkcs11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1})
	var err error
	switch kind {
	case hsm.AES256:
		_, err = s.GenerateKey(s.handle, mechanism(pkcs11.CKM_AES_KEY_GEN), append(inside,
			pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, 32), can(pkcs11.CKA_ENCRYPT), can(pkcs11.CKA_DECRYPT)))
	case hsm.P256:
		_, _, err = s.GenerateKeyPair(s.handle, mechanism(pkcs11.CKM_EC_KEY_PAIR_GEN),
			append(own, curve, can(pkcs11.CKA_VERIFY)), append(inside, can(pkcs11.CKA_SIGN)))
	case hsm.P256Derive:
		_, _, err = s.GenerateKeyPair(s.handle, mechanism(pkcs11.CKM_EC_KEY_PAIR_GEN), append(own, curve), append(inside, can(pkcs11.CKA_DERIVE)))
	case hsm.RSA3072:
		_, _, err = s.GenerateKeyPair(s.handle, mechanism(pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN),
			append(own, bits, exponent, can(pkcs11.CKA_VERIFY)), append(inside, can(pkcs11.CKA_SIGN)))
	case hsm.RSADecrypt:
		_, _, err = s.GenerateKeyPair(s.handle, mechanism(pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN),
			append(own, bits, exponent, can(pkcs11.CKA_ENCRYPT)), append(inside, can(pkcs11.CKA_DECRYPT)))
	default:
		err = fmt.Errorf("kind %q is not known", kind)
	}
	return err
}

// public gives the public half of a pair as PKIX DER.
func (s *session) public(name string) ([]byte, error) {
	object, err := s.one(pkcs11.CKO_PUBLIC_KEY, name)
	if err != nil {
		return nil, err
	}
	if point, err := s.GetAttributeValue(s.handle, object, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_EC_POINT, nil)}); err == nil && len(point[0].Value) > 0 {
		return pointDER(point[0].Value)
	}
	got, err := s.GetAttributeValue(s.handle, object, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_MODULUS, nil), pkcs11.NewAttribute(pkcs11.CKA_PUBLIC_EXPONENT, nil)})
	if err != nil {
		return nil, err
	}
	exponent := new(big.Int).SetBytes(got[1].Value)
	if !exponent.IsInt64() || exponent.Int64() > 1<<31-1 {
		return nil, errors.New("the RSA exponent is too large")
	}
	return x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: new(big.Int).SetBytes(got[0].Value), E: int(exponent.Int64())})
}

// pointDER reads CKA_EC_POINT, a point in an OCTET STRING (PKCS#11 2.40
// mechanisms, section 2.3.3), which some libraries leave out.
func pointDER(raw []byte) ([]byte, error) {
	point := raw
	if rest, err := asn1.Unmarshal(raw, &point); err != nil || len(rest) > 0 {
		point = raw
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return nil, fmt.Errorf("its public half is no point of P-256: %w", err)
	}
	return x509.MarshalPKIXPublicKey(key)
}
