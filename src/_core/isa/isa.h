/* Which instruction set the kernels of this process use. */
#ifndef KX_ISA_H
#define KX_ISA_H

enum { KX_LEVEL_BASELINE = 0, KX_LEVEL_V3 = 1, KX_LEVEL_V4 = 2 };

/* The level in use, chosen at the first call (KEXUE_ISA can lower it). */
int kx_isa_level(void);

/* What this processor has beyond KX_LEVEL_V4, as bits; 0 where KEXUE_ISA names a level, which is then all there is. */
enum { KX_EXTENSION_VPOPCNTDQ = 1 };
int kx_isa_extensions(void);

/* The size of this processor's first-level data cache; 32 kB where it does not tell. */
int kx_first_cache_bytes(void);

#endif
