package verify

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/google/go-tpm/tpm2"
)

// makeCredential seals a secret so that only the TPM with ek gives it out, and
// only if it has the key with this name (TPM 2.0 Part 1, "Credential
// Protection"). tpm2.CreateCredential does the same by reflection, which takes
// half as long again as the encryption to ek.
func makeCredential(rand io.Reader, ek tpm2.LabeledEncapsulationKey, name, secret []byte) (blob, encrypted []byte, err error) {
	hash, err := ek.NameAlg().Hash()
	if err != nil {
		return nil, nil, err
	}
	bits, err := keyBits(ek.SymmetricParameters())
	if err != nil {
		return nil, nil, err
	}
	seed, encrypted, err := ek.Encapsulate(rand, "IDENTITY")
	if err != nil {
		return nil, nil, err
	}
	block, err := aes.NewCipher(tpm2.KDFa(hash, seed, "STORAGE", name, nil, bits))
	if err != nil {
		return nil, nil, err
	}
	identity := append(binary.BigEndian.AppendUint16(nil, uint16(len(secret))), secret...)
	//lint:ignore SA1019 it is what TPMs do
	cipher.NewCFBEncrypter(block, make([]byte, aes.BlockSize)).XORKeyStream(identity, identity)
	mac := hmac.New(hash.New, tpm2.KDFa(hash, seed, "INTEGRITY", nil, nil, 8*hash.Size()))
	_, _ = mac.Write(identity)
	_, _ = mac.Write(name)
	blob = mac.Sum(binary.BigEndian.AppendUint16(nil, uint16(hash.Size())))
	return append(blob, identity...), encrypted, nil
}

// keyBits is the size of the AES key that protects what is the key's own.
func keyBits(p *tpm2.TPMTSymDefObject) (int, error) {
	if p.Algorithm != tpm2.TPMAlgAES {
		return 0, fmt.Errorf("the endorsement key protects by algorithm %#x, expected AES", uint16(p.Algorithm))
	}
	mode, err := p.Mode.AES()
	if err != nil {
		return 0, err
	}
	if *mode != tpm2.TPMAlgCFB {
		return 0, fmt.Errorf("the endorsement key protects by AES in mode %#x, expected CFB", uint16(*mode))
	}
	bits, err := p.KeyBits.AES()
	if err != nil {
		return 0, err
	}
	return int(*bits), nil
}
