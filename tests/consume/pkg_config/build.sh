cc -std=c11 -O2 $(pkg-config --cflags kexue) ../program.c "$(pkg-config --variable=amalgamation kexue)" $(pkg-config --libs kexue) -o consumer
